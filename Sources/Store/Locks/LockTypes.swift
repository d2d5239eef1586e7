/// Who holds a lock: a process of the kernel's (or an open file, for OFD locks), or the daemon.
package enum LockOwner: Hashable, Sendable {
  /// The `lock_owner` of the kernel's request.
  case kernel(UInt64)
  /// The daemon, as one more client of the database.
  case daemon
}

package enum LockKind: Sendable {
  case read, write
}

/// A byte range, both ends included; `end == Int64.max` is "to the end of the file".
package struct LockRange: Hashable, Sendable {
  package var start: Int64
  package var end: Int64

  /// - Precondition: `start <= end`.
  package init(_ start: Int64, _ end: Int64) {
    precondition(start <= end, "a lock range must not be empty")
    self.start = start
    self.end = end
  }

  package func overlaps(_ other: LockRange) -> Bool {
    start <= other.end && other.start <= end
  }
}

/// SQLite's lock bytes in the database file (sqlite.org/fileformat2.html, "The Lock-Byte Page").
package enum MainLock {
  package static let pending = LockRange(0x4000_0000, 0x4000_0000)
  package static let reserved = LockRange(0x4000_0001, 0x4000_0001)
  package static let shared = LockRange(0x4000_0002, 0x4000_01ff)
}

/// SQLite's lock bytes in the shared-memory file (sqlite.org/walformat.html, "WAL Locks").
package enum WALLock {
  package static let write = LockRange(120, 120)
  package static let checkpoint = LockRange(121, 121)
  package static let recover = LockRange(122, 122)
  /// - Precondition: `slot` is 0 to 4.
  package static func read(_ slot: Int) -> LockRange {
    precondition((0...4).contains(slot), "SQLite has five read slots")
    return LockRange(Int64(123 + slot), Int64(123 + slot))
  }
  package static let deadManSwitch = LockRange(128, 128)
}

/// What is asked of a file's lock table.
package struct LockRequest: Hashable, Sendable {
  package var owner: LockOwner
  /// The open file the request came through (the kernel's file handle); zero for the daemon.
  package var handle: UInt64
  /// The process that asked, for `F_GETLK`; zero for the daemon.
  package var pid: Int32
  package var kind: LockKind
  package var range: LockRange
  /// The daemon holds it for a bounded piece of work, during which it waits for nobody. An
  /// application that would not wait is then kept waiting all the same: on a local disk it would have
  /// met no lock.
  package var isBrief: Bool

  package init(
    owner: LockOwner,
    handle: UInt64 = 0,
    pid: Int32 = 0,
    kind: LockKind,
    range: LockRange,
    isBrief: Bool = false
  ) {
    self.owner = owner
    self.handle = handle
    self.pid = pid
    self.kind = kind
    self.range = range
    self.isBrief = isBrief
  }
}

/// A lock somebody has. It remembers how it was asked for.
package typealias HeldLock = LockRequest

package enum LockOutcome: Hashable, Sendable {
  case granted
  /// Somebody else has a lock in the way, and the caller would not wait.
  case conflict
  /// The wait was cancelled.
  case interrupted
  /// To wait would close a circle of owners who wait for each other.
  case deadlock
  /// Nobody may have it now, for this reason.
  case failed(StoreError.Code)
}

/// Names a wait, to cancel it.
package struct LockTicket: Hashable, Sendable {
  let number: UInt64
}
