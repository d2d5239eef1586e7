import Store
import Testing

@testable import FuseFS

/// Owners, modes and who may do what.
struct OwnerTests {
  /// `nobody` on Debian and Ubuntu.
  private static let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

  @Test("another user", .timeLimit(.minutes(1)), arguments: [true, false])
  func another(passthrough: Bool) async throws {
    try await TestMount.with(passthrough: passthrough, allowOther: true) { mount in
      _ = try await Child.python(
        """
        os.chdir(mnt)
        open('secret', 'w').write('x'); os.chmod('secret', 0o600)
        open('public', 'w').write('x'); os.chmod('public', 0o644)
        os.mkdir('closed', 0o700)
        os.mkdir('group'); os.chown('group', 0, 7); os.chmod('group', 0o2777)
        subprocess.check_call(sys.argv[2].split() + ['/usr/bin/python3', '-c', '''
        import errno, os, sqlite3
        def fails(number, body, *args):
            try: body(*args)
            except OSError as e: assert e.errno == number, e; return
            assert False, args
        os.umask(0o027)
        fails(errno.EACCES, open, 'secret')
        fails(errno.EACCES, open, 'public', 'w')
        fails(errno.EACCES, os.listdir, 'closed')
        fails(errno.EPERM, os.chmod, 'public', 0o666)
        fails(errno.EPERM, os.chown, 'public', 65534, 65534)
        assert open('public').read() == 'x'
        open('mine', 'w').write('y'); os.mkdir('mydir'); os.symlink('mine', 'mylink')
        os.mkfifo('myfifo')
        for name, mode in ('mine', 0o640), ('mydir', 0o750), ('myfifo', 0o640):
            st = os.lstat(name)
            assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (65534, 65534, mode), (name, st)
        assert os.lstat('mylink').st_uid == 65534
        open('group/f', 'w'); os.mkdir('group/d')
        assert os.stat('group/f').st_gid == 7 and os.stat('group/d').st_gid == 7
        assert os.stat('group/d').st_mode & 0o2000
        db = sqlite3.connect('my.db'); db.execute('pragma journal_mode=wal')
        db.execute('create table t(x)'); db.commit()
        assert os.stat('my.db').st_uid == os.stat('my.db-wal').st_uid == 65534
        os.chmod('mine', 0o4755); os.utime('mine', (1000000000, 1100000000))
        '''])
        st = os.stat('mine')
        assert st.st_mode & 0o7777 == 0o4755 and st.st_mtime == 1100000000, st
        assert st.st_atime == 1000000000
        os.chown('mine', 5, 6)
        st = os.stat('mine')
        assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (5, 6, 0o755), st
        backing = os.stat(sys.argv[3] + '/mine')
        assert (backing.st_uid, backing.st_gid) == (5, 6)
        """,
        [mount.directory, Self.nobody.joined(separator: " "), mount.tree]
      )
    }
  }

  @Test("others stay out unless they are allowed in", .timeLimit(.minutes(1)))
  func outside() async throws {
    try await TestMount.with { mount in
      let result = try await Child.run(Self.nobody + ["ls", mount.directory])
      #expect(!result.succeeded)
      #expect(result.output.contains("Permission denied"))
    }
  }

  @Test("the store's errors reach the application", .timeLimit(.minutes(1)))
  func errors() async throws {
    try await TestMount.with { mount in
      for (code, name) in [
        (StoreError.Code.readOnly, "EROFS"), (.full, "ENOSPC"), (.diverged, "EIO"),
        (.busy, "EBUSY"), (.system(12), "ENOMEM"),
      ] {
        mount.backend.failWrites(with: StoreError(code, "a test"))
        _ = try await Child.python(
          "fails(errno.\(name), os.open, mnt + '/f', os.O_RDWR | os.O_CREAT)",
          [mount.directory]
        )
      }
      mount.backend.failWrites(with: StoreError(.readOnly, "a replica"))
      _ = try await Child.python(
        """
        try:
            sqlite3.connect(mnt + '/db').execute('create table t(x)')
            assert False
        except sqlite3.OperationalError as e:
            assert 'unable to open' in str(e) or 'readonly' in str(e), e
        """,
        [mount.directory]
      )
    }
  }
}
