import Testing

/// Names of any bytes but "/" and NUL, as on a local disk.
struct AnyBytesTests {
  /// No UTF-8 at all, cut short, ours for the first, é in both forms, Å in three, a mark after the
  /// slash, Hangul as a syllable and as jamo, a line break, the longest name.
  private static let names = #"""
    names = [b'\xff', b'a\xffb', b'\xe2\x82', b'\xf4\x8f\xbb\xbf', b'\xed\xa0\x80',
             'é'.encode(), 'e\u0301'.encode(), 'Å'.encode(), '\u212b'.encode(), 'A\u030a'.encode(),
             '\u0301e'.encode(), '\uac00'.encode(), '\u1100\u1161'.encode(), '😀'.encode(),
             b'\r\n', b'\xff' * 255, '\u0301'.encode() * 127]
    assert len(set(names)) == 17
    root, tree = os.fsencode(mnt), os.fsencode(sys.argv[2])

    """#

  @Test("files and directories", .timeLimit(.minutes(1)), arguments: [true, false])
  func names(passthrough: Bool) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      _ = try await Child.python(
        Self.names + #"""
          os.chdir(root)
          for name in names: open(name, 'xb').write(b'is ' + name)
          def check(directory, those):
              assert set(os.listdir(directory)) == set(os.listdir(tree + b'/' + directory)) == set(those)
              seen = {e.name: e.stat().st_ino for e in os.scandir(directory)}
              assert set(seen) == set(those) and len(set(seen.values())) == len(those)
          check(b'.', names)
          for name in names:
              assert open(name, 'rb').read() == b'is ' + name
              assert open(tree + b'/' + name, 'rb').read() == b'is ' + name
          # All of them open at once are different files, with locks of their own.
          files = [open(name, 'r+b') for name in names]
          for f in files: ofd(f.fileno(), W, 0, 1)
          for f, name in zip(files, names): assert os.fstat(f.fileno()).st_ino == os.stat(name).st_ino
          for f in files: f.close()

          # Renaming, in directories of such names, while a neighbour of almost the same stays.
          for name in names:
              os.rename(name, b'aside'); os.mkdir(name); os.rename(b'aside', name + b'/' + name)
          check(b'.', names)
          for name in names:
              check(name, [name])
              os.symlink(name, b'link'); assert os.readlink(b'link') == name
              assert os.readlink(tree + b'/link') == name
              check(b'link', [name]); os.unlink(b'link')
              os.link(name + b'/' + name, name + b'/second')
              os.chmod(name + b'/second', 0o640); os.utime(name + b'/' + name, (1, 2))
              assert os.stat(name + b'/' + name).st_mode & 0o777 == 0o640
              os.unlink(name + b'/' + name); check(name, [b'second'])
              fails(errno.ENOENT, os.stat, name + b'/' + name)
              fails(errno.ENOTEMPTY, os.rmdir, name)
              os.rename(name + b'/second', name + b'/' + name[::-1])
              assert open(name + b'/' + name[::-1], 'rb').read() == b'is ' + name
              os.unlink(name + b'/' + name[::-1]); os.rmdir(name)
              fails(errno.ENOENT, os.stat, name)
          check(b'.', [])

          # Too deep for what we remember of a name, not for us to answer.
          for _ in range(5):
              try: os.mkdir(b'\xff' * 255)
              except OSError as e:
                  assert e.errno == errno.ENAMETOOLONG
                  break
              os.chdir(b'\xff' * 255)
          else: assert False
          """#,
        [mount.directory, mount.tree]
      )
    }
  }

  @Test(
    "SQLite",
    .timeLimit(.minutes(1)),
    arguments: [true, false],
    ["wal", "delete", "persist"]
  )
  func databases(passthrough: Bool, mode: String) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      _ = try await Child.python(
        Self.names + #"""
          names = [name for name in names if len(name) < 200]
          os.chdir(root)
          def connect(name):
              return sqlite3.connect(name, timeout=0, isolation_level=None)
          open_ = []
          for name in names:
              db = connect(name); open_.append(db)
              assert db.execute('pragma journal_mode=' + sys.argv[3]).fetchone()[0] == sys.argv[3]
              db.execute('create table t(x)')
              # Held in all of them at once: no two share a lock.
              db.execute('begin immediate'); db.execute('insert into t values(?)', (name,))
          for db, name in zip(open_, names):
              other = connect(name)
              try: other.execute('begin immediate')
              except sqlite3.OperationalError as e: assert 'locked' in str(e)
              else: assert False, name
              db.execute('commit')
              assert other.execute('select x from t').fetchall() == [(name,)]
              other.close(); db.close()
          for name in names:
              assert sqlite3.connect(tree + b'/' + name).execute('select x from t').fetchall() == [(name,)]
          """#,
        [mount.directory, mount.tree, mode]
      )
    }
  }
}
