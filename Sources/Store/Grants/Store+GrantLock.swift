import Synchronization

// LiteFS's way to write for longer than one transaction: whoever has an exclusive lock on byte 72 of `<db>-lock` keeps
// the grant of the database for its node until it lets go, also between transactions. Others who want to write wait
// for it, but not for ever (`DatabaseLoan.recallLimit`).

extension Database {
  /// LiteFS's HALT lock.
  static let grantByte = LockRange(72, 72)

  /// Whether a client of this node keeps the right to write.
  var isPinned: Bool {
    grantLocks.withLock { $0 }?.isLocked(Self.grantByte, .write) ?? false
  }
}

extension Store {
  private static let grantLockSuffix = "-lock"

  /// Lets the lock on a file mean the grant of a database, where that is what the file's name says.
  func guardGrantLock(_ name: FileName, _ locks: FileLocks) {
    guard configuration.forwards, name.role == .main, name.path.hasSuffix(Self.grantLockSuffix)
    else { return }
    let stem = String(name.path.dropLast(Self.grantLockSuffix.count))
    guard FileName(stem).isDatabase else { return }
    let database = makeDatabase(stem)
    database.grantLocks.withLock { $0 = locks }
    locks.setObserver(ranges: [Database.grantByte]) { [weak self, weak database] _, _, proceed in
      proceed()
      if let self, let database { unpinned(database) }
    }
    locks.setGuard(range: Database.grantByte) { [weak self, weak database] _, answer in
      guard let self, let database else { return answer(nil) }
      wantGrant(of: database, answer)
    }
  }

  private func wantGrant(of database: Database, _ answer: @escaping ParkedWriters.Answer) {
    let (engine, lending) = state.withLock { ($0.engine, $0.lending) }
    if let engine {
      guard engine.borrowing.want(database, answer) else { return answer(Self.walRefusal) }
    } else if let loan = lending?.known(database) {
      loan.want(answer)
    } else {
      answer(nil)
    }
  }

  private func unpinned(_ database: Database) {
    let (engine, lending) = state.withLock { ($0.engine, $0.lending) }
    engine?.borrowing.unpinned(database)
    lending?.known(database)?.unpinned()
  }
}
