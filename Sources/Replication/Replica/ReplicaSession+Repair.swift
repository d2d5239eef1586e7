package import LTX
package import Store

extension ReplicaSession {
  /// Begins to fetch the next database that needs it.
  mutating func repairNext(at now: ContinuousClock.Instant) {
    guard phase == .streaming, let database = repair.begin(at: now) else { return }
    outbox.append(.readChecksums(repair.id, database: database))
  }

  /// The answer to `.readChecksums`.
  package mutating func checksums(
    _ id: UInt32,
    _ result: Result<[Checksum], StoreError>,
    at now: ContinuousClock.Instant
  ) {
    guard phase == .streaming, id == repair.id, case .reading = repair.step else { return }
    switch result {
    case .success(let checksums): repair.request(with: checksums)
    case .failure(let error):
      giveUpRepair(
        ReplicationError(
          .store,
          "The pages of \(repair.database) cannot be compared.",
          cause: error
        ),
        at: now
      )
    }
  }

  mutating func receive(_ begin: SnapshotBegin, id: UInt32) {
    guard id == repair.id, case .awaitingBegin = repair.step else { return ignore(id) }
    guard begin.database == repair.database else {
      return violation("The primary sent a snapshot of another database.")
    }
    repair.receiving(begin, taken: 0)
    queue(.beginSnapshot(begin))
  }

  mutating func receive(_ pages: [SnapshotPage], id: UInt32) {
    guard id == repair.id, case .receiving(let begin, let taken) = repair.step else {
      // Given up meanwhile: only the primary's window must learn of it.
      takenBytes += UInt64(pages.reduce(0) { $0 + $1.bytes.count })
      return ignore(id)
    }
    guard pages.allSatisfy({ $0.bytes.count == Int(begin.pageSize) }) else {
      return violation("The primary sent pages of a size that the snapshot did not announce.")
    }
    repair.receiving(begin, taken: taken &+ UInt32(pages.count))
    queue(.addSnapshot(begin.database, pages))
  }

  mutating func receive(_ end: SnapshotEnd, id: UInt32) {
    guard id == repair.id, case .receiving(let begin, _) = repair.step else { return ignore(id) }
    guard end.index <= expected else {
      return violation("The end of a snapshot came before the entries that it needs.")
    }
    repair.ending()
    queue(.endSnapshot(begin.database, end))
  }

  mutating func receive(
    _ failure: SnapshotFailure,
    id: UInt32,
    at now: ContinuousClock.Instant
  ) {
    guard id == repair.id, !repair.isIdle else { return ignore(id) }
    switch failure.reason {
    case .notFound:
      repair.ending()
      queue(.dropDatabase(repair.database))
    case .failed:
      giveUpRepair(
        ReplicationError(
          .store,
          "The primary cannot send \(repair.database): \(failure.text)"
        ),
        at: now
      )
    }
  }

  mutating func giveUpRepair(_ error: ReplicationError, at now: ContinuousClock.Instant) {
    guard !repair.isIdle else { return }
    outbox.append(.repairFailed(repair.database, error))
    takenBytes += UInt64(work.dropSnapshot())
    repair.fail(at: now, limits: limits)
    repairNext(at: now)
  }

  /// What belongs to a request that was given up is no fault; what was never asked for is.
  private mutating func ignore(_ id: UInt32) {
    if id > repair.id { violation("The primary answered a request that was not made.") }
  }

  /// The snapshot under way, for people.
  package var snapshotProgress: SnapshotProgress? {
    guard case .receiving(let begin, let taken) = repair.step else { return nil }
    return SnapshotProgress(
      database: begin.database,
      donePages: taken,
      totalPages: begin.differing
    )
  }
}
