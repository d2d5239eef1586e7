import Dispatch
import Synchronization

/// The time from the return of COMMIT on the primary until a reader on the replica sees the row.
///
/// The writer keeps its pace whatever the replica does. The reader asks for the largest key again
/// and again, with a pause of a tenth of a millisecond so that it does not take the processor from
/// those whom it measures: figures below about 0.2 ms say no more than that.
final class Lag: Sendable {
  private static let pauseNanoseconds: Int64 = 100_000
  private static let patienceSeconds = 30.0

  private let primary: String
  private let replica: String
  private let count: Int
  private let nanosecondsApart: Int64
  /// When each row was first seen, in the order of the keys; nil once the reader has failed.
  private let seen = Mutex<Result<[Int64], Failure>>(.success([]))

  init(primary: String, replica: String, count: Int, nanosecondsApart: Int64) {
    self.primary = primary
    self.replica = replica
    self.count = count
    self.nanosecondsApart = nanosecondsApart
  }

  func measure() throws -> Summary {
    let database = try SQLite(primary)
    try database.execute("PRAGMA synchronous=NORMAL")
    let insert = try database.prepare("INSERT INTO t(value) VALUES (randomblob(100 + ?1))")
    try insert.number(0)
    let first = try database.number("SELECT max(id) FROM t")
    try awaitReplica(first)

    let done = DispatchSemaphore(value: 0)
    let target = first + Int64(count)
    DispatchQueue.global().async { [self] in
      do {
        try follow(from: first, to: target)
      } catch {
        seen.withLock { $0 = .failure(Failure("reader on the replica: \(error)")) }
      }
      done.signal()
    }
    var committed: [Int64] = []
    committed.reserveCapacity(count)
    let start = Clock.now()
    for index in 0..<count {
      Clock.pause(until: start + Int64(index) * nanosecondsApart)
      try insert.number(0)
      committed.append(Clock.now())
    }
    let seconds = Double(Clock.now() - start) / 1e9
    guard done.wait(timeout: .now() + Self.patienceSeconds) == .success else {
      throw Failure("the replica did not see all rows in \(Self.patienceSeconds) s")
    }
    var samples = Samples()
    for (commit, sight) in zip(committed, try seen.withLock({ try $0.get() })) {
      // A reader may see a row before the writer has returned from COMMIT.
      samples.add(max(0, sight - commit))
    }
    return samples.summary(seconds: seconds)
  }

  private func follow(from first: Int64, to target: Int64) throws {
    let database = try SQLite(replica)
    let query = try database.prepare("SELECT max(id) FROM t")
    var sights: [Int64] = []
    sights.reserveCapacity(count)
    var last = first
    let patience = Int64(Self.patienceSeconds * 1e9) + Int64(count) * nanosecondsApart
    let end = Clock.now() + patience
    while last < target {
      let now = try query.number()
      let moment = Clock.now()
      while last < now {
        sights.append(moment)
        last += 1
      }
      guard moment < end else { throw Failure("stuck at row \(last) of \(target)") }
      if last < target { Clock.pause(nanoseconds: Self.pauseNanoseconds) }
    }
    seen.withLock { $0 = .success(sights) }
  }

  private func awaitReplica(_ row: Int64) throws {
    try Deadline.wait(seconds: Self.patienceSeconds, for: "the replica to have the table") {
      guard let database = try? SQLite(replica) else { return false }
      return (try? database.number("SELECT max(id) FROM t")) == row
    }
  }
}
