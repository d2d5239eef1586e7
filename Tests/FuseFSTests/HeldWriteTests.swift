import Store
import Synchronization
import Testing

@testable import FuseFS

/// Writes that the store answers late, from another thread, or not at all.
struct HeldWriteTests {
  @Test("a held write holds up nobody else", .timeLimit(.minutes(1)), arguments: [true, false])
  func held(passthrough: Bool) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      mount.backend.holdWrites(true)
      async let writer = Child.python(
        """
        fd = os.open(mnt + '/db-wal', os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b'held', 0)
        fails(errno.EIO, os.pwrite, fd, b'refused', 0)
        """,
        [mount.directory]
      )
      try await offPool { mount.backend.waitForHeld() }
      // Reads of the same file, its attributes and locks, and other files.
      _ = try await Child.python(
        """
        fd = os.open(mnt + '/db-wal', os.O_RDONLY)
        assert os.pread(fd, 10, 0) == b''
        assert os.stat(mnt + '/db-wal').st_size == 0
        posix(fd, R, 0, 1)
        open(mnt + '/other', 'w').write('x')
        assert sorted(os.listdir(mnt)) == ['db-wal', 'other']
        """,
        [mount.directory],
        seconds: 10
      )
      try await offPool { mount.backend.answerHeld(nil) }
      try await offPool { mount.backend.waitForHeld() }
      try await offPool { mount.backend.answerHeld(StoreError(.stopped, "no longer primary")) }
      _ = try await writer
    }
  }

  @Test("who waits for a held write can be killed", .timeLimit(.minutes(1)))
  func killed() async throws {
    try await TestMount.with { mount in
      mount.backend.holdWrites(true)
      async let writer = Child.python(
        """
        def blocked(me):
            fd = os.open(mnt + '/db-wal', os.O_RDWR | os.O_CREAT)
            posix(fd, W, 0, 1)
            me.say()
            os.pwrite(fd, b'held', 0)
        c = child(blocked); assert c.hear()
        while not os.path.exists(mnt + '/go'): time.sleep(0.02)
        os.kill(c.pid, signal.SIGKILL)
        os.unlink(mnt + '/go')
        os.waitpid(c.pid, 0)
        fd = os.open(mnt + '/db-wal', os.O_RDWR)
        posix(fd, W, 0, 1)
        """,
        [mount.directory]
      )
      try await offPool { mount.backend.waitForHeld() }
      _ = try await Child.python(
        """
        open(mnt + '/go', 'w').close()
        while os.path.exists(mnt + '/go'): time.sleep(0.02)
        """,
        [mount.directory]
      )
      try await offPool { mount.backend.answerHeld(nil) }
      _ = try await writer
    }
  }

  @Test("a forgotten answer becomes an error", .timeLimit(.minutes(1)))
  func forgotten() async throws {
    try await TestMount.with { mount in
      mount.backend.holdWrites(true)
      async let writer = Child.python(
        """
        fd = os.open(mnt + '/db-wal', os.O_RDWR | os.O_CREAT)
        fails(errno.EIO, os.pwrite, fd, b'lost', 0)
        """,
        [mount.directory],
        seconds: 20
      )
      try await offPool { mount.backend.waitForHeld() }
      mount.backend.forgetHeld()
      _ = try await writer
    }
  }
}
