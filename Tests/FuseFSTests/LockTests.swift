import Testing

/// Record locks between real processes on a real mount.
struct LockTests {
  @Test("POSIX locks", .timeLimit(.minutes(1)), arguments: [true, false])
  func posix(passthrough: Bool) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      _ = try await Child.python(
        """
        path = mnt + '/file'
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        posix(fd, W, 0, 100)
        def other(me):
            fd = os.open(path, os.O_RDWR)
            fails(errno.EAGAIN, posix, fd, R, 50, 1)
            posix(fd, W, 100, 10)
            found = struct.unpack('hhqqi4x', fcntl.fcntl(fd, fcntl.F_GETLK, flock(R, 0, 0)))
            assert found[0] == W and found[2:4] == (0, 100), found
            assert found[4] == os.getppid(), found
            me.say(); me.listen()
            posix(fd, W, 50, 1)          # unlocked by the parent meanwhile
            fails(errno.EAGAIN, posix, fd, W, 49, 1)
            fails(errno.EAGAIN, posix, fd, W, 51, 1)
            posix(fd, R, 60, 1)          # lowered to a read lock
            me.say(); me.listen()
        c = child(other)
        assert c.hear()
        fails(errno.EAGAIN, posix, fd, W, 105, 1)
        posix(fd, U, 50, 1)
        posix(fd, R, 60, 1)
        c.tell(); assert c.hear()
        fails(errno.EAGAIN, posix, fd, W, 60, 1)
        # Closing any descriptor of the file gives up all locks of the process.
        os.close(os.open(path, os.O_RDONLY))
        def third(me):
            fd = os.open(path, os.O_RDWR)
            posix(fd, W, 0, 50)
        child(third).join()
        c.tell(); c.join()
        """,
        [mount.directory]
      )
    }
  }

  @Test("locks of open files", .timeLimit(.minutes(1)), arguments: [true, false])
  func openFile(passthrough: Bool) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      _ = try await Child.python(
        """
        path = mnt + '/file'
        a = os.open(path, os.O_RDWR | os.O_CREAT)
        b = os.open(path, os.O_RDWR)
        ofd(a, W, 0, 10)
        fails(errno.EAGAIN, ofd, b, R, 5, 1)       # another open of the same process
        fails(errno.EAGAIN, posix, b, R, 5, 1)
        # A fork shares the open file, and with it the lock; closing one copy keeps it.
        def other(me):
            ofd(a, W, 0, 20)
            os.close(a)
        child(other).join()
        fails(errno.EAGAIN, ofd, b, R, 15, 1)
        # An unrelated close gives up nothing; the last close of the open file does, though not
        # before its close has returned (the kernel tells the daemon in the background).
        os.close(os.open(path, os.O_RDONLY))
        fails(errno.EAGAIN, ofd, b, R, 15, 1)
        os.close(a)
        ofd(b, W, 0, 20, wait=True)
        """,
        [mount.directory]
      )
    }
  }

  @Test("waiting for a lock", .timeLimit(.minutes(1)), arguments: [true, false])
  func waiting(passthrough: Bool) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      _ = try await Child.python(
        """
        path = mnt + '/file'
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        class Interrupted(Exception): pass
        def on_alarm(*_): raise Interrupted()
        signal.signal(signal.SIGALRM, on_alarm)

        def holder(me):
            fd = os.open(path, os.O_RDWR)
            posix(fd, W, 0, 10)
            me.say(); me.listen()

        # A signal ends the wait, and nothing is left of it.
        c = child(holder); assert c.hear()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            posix(fd, W, 0, 10, wait=True); assert False
        except Interrupted: pass
        c.tell(); c.join()
        posix(fd, W, 0, 10); posix(fd, U, 0, 10)

        # The wait is over when the holder unlocks, closes, or dies.
        for way in 'unlock', 'exit', 'kill':
            def holder(me):
                fd = os.open(path, os.O_RDWR)
                posix(fd, W, 0, 10)
                me.say(); me.listen()
                if way == 'unlock':
                    posix(fd, U, 0, 10); me.listen()
            c = child(holder); assert c.hear()
            got = []
            t = threading.Thread(target=lambda: (posix(fd, W, 0, 10, wait=True), got.append(1)))
            t.start()
            t.join(0.1); assert not got
            if way == 'kill': c.kill()
            else: c.tell()
            t.join(20); assert got, way
            posix(fd, U, 0, 10)
            if way == 'unlock': c.tell()
            if way != 'kill': c.join()

        # One who waits can be killed, and does not get the lock afterwards.
        posix(fd, W, 0, 10)
        def waiter(me):
            fd = os.open(path, os.O_RDWR)
            me.say()
            posix(fd, W, 0, 10, wait=True)
        c = child(waiter); assert c.hear()
        blocked(c.pid)
        c.kill()
        posix(fd, U, 0, 10)
        def last(me):
            fd = os.open(path, os.O_RDWR)
            posix(fd, W, 0, 10)
        child(last).join()

        # Two who wait for each other: the second is refused.
        posix(fd, W, 0, 1)
        def crossing(me):
            fd = os.open(path, os.O_RDWR)
            posix(fd, W, 1, 1)
            me.say()
            posix(fd, W, 0, 1, wait=True)
        c = child(crossing); assert c.hear()
        blocked(c.pid)
        fails(errno.EDEADLK, posix, fd, W, 1, 1, True)
        posix(fd, U, 0, 1)
        c.join()
        """,
        [mount.directory]
      )
    }
  }

  @Test("a fork has no locks of its own", .timeLimit(.minutes(1)))
  func fork() async throws {
    try await TestMount.with { mount in
      _ = try await Child.python(
        """
        path = mnt + '/file'
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        posix(fd, W, 0, 10)
        def other(me):
            fails(errno.EAGAIN, posix, fd, R, 0, 1)
            os.close(fd)                 # gives up the child's locks, of which there are none
        child(other).join()
        def third(me):
            fails(errno.EAGAIN, posix, os.open(path, os.O_RDWR), R, 0, 1)
        child(third).join()
        """,
        [mount.directory]
      )
    }
  }

  @Test("many processes, one counter", .timeLimit(.minutes(1)))
  func counter() async throws {
    try await TestMount.with { mount in
      _ = try await Child.python(
        """
        path = mnt + '/counter'
        with open(path, 'w') as f: f.write('0')
        def worker(me):
            fd = os.open(path, os.O_RDWR)
            for _ in range(100):
                posix(fd, W, 0, 0, wait=True)
                n = int(os.pread(fd, 20, 0))
                os.pwrite(fd, str(n + 1).encode(), 0)
                posix(fd, U, 0, 0)
        for c in [child(worker) for _ in range(6)]: c.join()
        assert open(path).read() == '600'
        """,
        [mount.directory]
      )
    }
  }
}
