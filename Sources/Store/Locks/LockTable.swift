/// The byte-range locks of one file, with the semantics of POSIX (fcntl, "Advisory record locking").
///
/// Read locks of different owners may overlap, a write lock excludes every other owner. Locks of
/// one owner never conflict: a new one replaces what the owner had in its range, splitting what
/// reaches beyond. So a lock is raised, lowered or taken over by another handle by setting it again.
///
/// The locks of an owner therefore never overlap each other; neighbours that differ in nothing but
/// their range are one lock. A pure value: `FileLocks` adds waiting.
package struct LockTable: Sendable {
  /// Sorted by start. A file has a handful (SQLite takes at most nine a connection), so that
  /// walking the array is the fastest thing to do.
  package private(set) var held: [HeldLock] = []

  package init() {}

  /// The first lock of somebody else that stands in the way.
  package func conflict(with request: LockRequest) -> HeldLock? {
    held.first { Self.conflicts($0, request) }
  }

  /// Whether all that stands in the way are locks the daemon gives up by itself before long.
  package func hasOnlyBriefConflicts(with request: LockRequest) -> Bool {
    held.allSatisfy { $0.isBrief || !Self.conflicts($0, request) }
  }

  /// Whether both cannot be held at once.
  package static func conflicts(_ a: LockRequest, _ b: LockRequest) -> Bool {
    (a.kind == .write || b.kind == .write) && a.owner != b.owner && a.range.overlaps(b.range)
  }

  /// Gives the lock to its owner, in place of what the owner had there.
  ///
  /// - Precondition: there is no `conflict(with:)`.
  package mutating func insert(_ request: LockRequest) {
    remove(owner: request.owner, range: request.range)
    var merged = request
    held.removeAll { lock in
      guard Self.mergeable(lock, merged) else { return false }
      merged.range = LockRange(
        min(lock.range.start, merged.range.start),
        max(lock.range.end, merged.range.end)
      )
      return true
    }
    let place = held.firstIndex { $0.range.start > merged.range.start } ?? held.endIndex
    held.insert(merged, at: place)
  }

  /// Takes from the owner whatever it holds within the range.
  package mutating func remove(owner: LockOwner, range: LockRange) {
    guard held.contains(where: { $0.owner == owner && $0.range.overlaps(range) }) else { return }
    var rest: [HeldLock] = []
    rest.reserveCapacity(held.count + 1)
    for lock in held {
      guard lock.owner == owner, lock.range.overlaps(range) else {
        rest.append(lock)
        continue
      }
      if lock.range.start < range.start {
        var left = lock
        left.range = LockRange(lock.range.start, range.start - 1)
        rest.append(left)
      }
      if lock.range.end > range.end {
        var right = lock
        right.range = LockRange(range.end + 1, lock.range.end)
        rest.append(right)
      }
    }
    rest.sort { $0.range.start < $1.range.start }
    held = rest
  }

  package mutating func removeAll(where matches: (HeldLock) -> Bool) {
    held.removeAll(where: matches)
  }

  /// Whether the owner holds every byte of the range, with at least the strength of `kind`.
  package func holds(owner: LockOwner, range: LockRange, kind: LockKind) -> Bool {
    var next = range.start
    for lock in held where lock.owner == owner && (kind == .read || lock.kind == .write) {
      guard lock.range.start <= next else { break }
      if lock.range.end >= range.end { return true }
      if lock.range.end >= next { next = lock.range.end + 1 }
    }
    return false
  }

  /// One owner's locks join when nothing but the range tells them apart and no byte lies between.
  private static func mergeable(_ a: HeldLock, _ b: HeldLock) -> Bool {
    guard a.owner == b.owner, a.kind == b.kind, a.handle == b.handle, a.pid == b.pid,
      a.isBrief == b.isBrief
    else { return false }
    if a.range.overlaps(b.range) { return true }
    let (low, high) = a.range.start < b.range.start ? (a, b) : (b, a)
    return low.range.end < .max && low.range.end + 1 == high.range.start
  }
}
