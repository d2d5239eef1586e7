import Testing

/// Shared mappings between processes.
struct MappingTests {
  private static let shared = """
    path = mnt + '/' + sys.argv[2]
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 65536)
    here = mmap.mmap(fd, 65536)
    def other(me):
        there = mmap.mmap(os.open(path, os.O_RDWR), 65536)
        there[0:5] = b'child'
        me.say(); me.listen()
        assert there[4096:4102] == b'parent'
        there[40000:40001] = b'z'
    c = child(other); assert c.hear()
    assert here[0:5] == b'child'
    here[4096:4102] = b'parent'
    c.tell(); c.join()
    assert here[40000:40001] == b'z'
    os.ftruncate(fd, 131072)
    longer = mmap.mmap(fd, 131072)
    longer[100000:100003] = b'end'
    assert longer[0:5] == b'child'
    longer.flush(); here.flush()
    longer.close(); here.close(); os.close(fd)
    data = open(path, 'rb').read()
    assert data[0:5] == b'child' and data[100000:100003] == b'end' and len(data) == 131072

    """

  @Test(
    "shared memory",
    .timeLimit(.minutes(1)),
    arguments: [true, false]
  )
  func sharedMemory(passthrough: Bool) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      _ = try await Child.python(Self.shared, [mount.directory, "db-shm"])
    }
  }

  @Test("a database file", .timeLimit(.minutes(1)))
  func database() async throws {
    try await TestMount.with { mount in
      _ = try await Child.python(
        Self.shared + """
          # What comes by write shows in the mapping, and the other way round, at once.
          fd = os.open(path, os.O_RDWR)
          m = mmap.mmap(fd, 131072)
          os.pwrite(fd, b'written', 50000)
          assert m[50000:50007] == b'written'
          m[60000:60006] = b'mapped'
          assert os.pread(fd, 6, 60000) == b'mapped'
          """,
        [mount.directory, "db"]
      )
      // The daemon's own view is the same pages.
      _ = try await Child.python(
        """
        data = open(mnt + '/db', 'rb').read()
        assert data[50000:50007] == b'written' and data[60000:60006] == b'mapped'
        """,
        [mount.tree]
      )
    }
  }

  @Test("without passthrough a database cannot be mapped", .timeLimit(.minutes(1)))
  func fallback() async throws {
    try await TestMount.with(passthrough: false) { mount in
      _ = try await Child.python(
        """
        path = mnt + '/db'
        sqlite3.connect(path).executescript('create table t(x); insert into t values(1)')
        fd = os.open(path, os.O_RDWR)
        fails(errno.ENODEV, mmap.mmap, fd, 4096)
        # An ordinary file can, once it has content.
        open(mnt + '/text', 'w').write('some text')
        m = mmap.mmap(os.open(mnt + '/text', os.O_RDWR), 9)
        m[0:4] = b'SOME'
        assert open(mnt + '/text').read() == 'SOME text'
        """,
        [mount.directory]
      )
    }
  }
}
