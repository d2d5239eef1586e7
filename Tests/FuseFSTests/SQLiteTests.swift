import Testing

/// SQLite on the mount, as other programs use it.
struct SQLiteTests {
  static let cases = [true, false].flatMap { passthrough in
    ["wal", "delete", "truncate", "persist"].map { (passthrough, $0) }
  }

  @Test("several processes", .timeLimit(.minutes(2)), arguments: cases)
  func processes(passthrough: Bool, mode: String) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      let output = try await Child.python(
        """
        path, mode = mnt + '/sub/app.db', sys.argv[2]
        os.mkdir(mnt + '/sub')
        def connect():
            db = sqlite3.connect(path, timeout=60, isolation_level=None)
            db.execute('pragma synchronous=normal')
            return db
        db = connect()
        assert db.execute('pragma journal_mode=' + mode).fetchone()[0] == mode
        db.execute('create table account(id integer primary key, balance)')
        db.execute('create table log(who, n)')
        db.executemany('insert into account values(?, 100)', [(i,) for i in range(50)])
        db.close()
        def writer(me, who):
            import random
            r = random.Random(who)
            db = connect()
            for n in range(60):
                a, b = r.sample(range(50), 2)
                db.execute('begin immediate')
                db.execute('update account set balance = balance - 1 where id = ?', (a,))
                db.execute('update account set balance = balance + 1 where id = ?', (b,))
                db.execute('insert into log values(?, ?)', (who, n))
                db.execute('rollback' if n % 10 == 9 else 'commit')
        def reader(me):
            db = connect()
            for _ in range(60):
                db.execute('begin')
                total = db.execute('select sum(balance) from account').fetchone()[0]
                assert total == 5000, total
                db.execute('commit')
        for c in [child(writer, w) for w in range(3)] + [child(reader) for _ in range(2)]:
            c.join()
        db = connect()
        assert db.execute('select count(*) from log').fetchone()[0] == 3 * 54
        assert db.execute('pragma integrity_check').fetchone()[0] == 'ok'
        db.execute('vacuum')
        db.close()
        print(sorted(os.listdir(mnt + '/sub')))
        """,
        [mount.directory, mode],
        seconds: 110
      )
      #expect(output.contains("app.db"))
      #expect(!output.contains("-wal"))
    }
  }

  @Test("the shell, crashing and recovering", .timeLimit(.minutes(1)), arguments: [true, false])
  func shell(passthrough: Bool) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      for mode in ["wal", "delete"] {
        _ = try await Child.python(
          """
          path, mode = mnt + '/' + sys.argv[2] + '.db', sys.argv[2]
          def shell(*commands):
              return subprocess.run(['sqlite3', '-batch', path, *commands], check=True,
                                    capture_output=True, text=True, timeout=30).stdout
          assert shell('pragma journal_mode=' + mode).strip() == mode
          shell('create table t(x); insert into t values(1)')
          def dying(me):
              db = sqlite3.connect(path, isolation_level=None)
              db.execute('pragma cache_size=5')
              db.execute('begin')
              for i in range(2000): db.execute('insert into t values(randomblob(500))')
              me.say(); me.listen()
          c = child(dying); assert c.hear()
          assert shell('select count(*) from t').strip() == '1' if mode == 'wal' else True
          c.kill()
          assert shell('select count(*) from t; pragma integrity_check').split() == ['1', 'ok']
          shell('.backup ' + mnt + '/copy.db')
          assert shell('vacuum into "' + mnt + '/' + mode + '-into.db"') == ''
          """,
          [mount.directory, mode]
        )
      }
    }
  }

  @Test("memory-mapped reads", .timeLimit(.minutes(1)), arguments: [true, false])
  func mapped(passthrough: Bool) async throws {
    try await TestMount.with(passthrough: passthrough) { mount in
      _ = try await Child.python(
        """
        path = mnt + '/app.db'
        a = sqlite3.connect(path, isolation_level=None); b = sqlite3.connect(path)
        a.execute('pragma journal_mode=wal')
        for db in a, b: db.execute('pragma mmap_size=100000000')
        a.execute('create table t(x)')
        for i in range(300):
            a.execute('insert into t values(randomblob(1000))')
            if i % 50 == 0: a.execute('pragma wal_checkpoint(passive)')
            assert b.execute('select count(*), sum(length(x)) from t').fetchone()[0] == i + 1
        """,
        [mount.directory]
      )
    }
  }
}
