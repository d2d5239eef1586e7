import LTX
import Store

/// Which database is being fetched from the primary, and which wait.
struct RepairState: Sendable {
  enum Step: Sendable {
    case idle
    /// The checksums of the pages at hand are being read.
    case reading
    /// The request is on its way: checksums from this one on.
    case requesting([Checksum], from: Int)
    case awaitingBegin
    case receiving(SnapshotBegin, taken: UInt32)
    /// The last piece of work of the snapshot is queued.
    case ending
  }

  private struct Delay {
    var until: ContinuousClock.Instant
    var last: Duration
  }

  private(set) var step = Step.idle
  private(set) var id: UInt32 = 0
  private(set) var database = ""
  private var wanted: [String] = []
  private var delays: [String: Delay] = [:]

  var isIdle: Bool {
    if case .idle = step { return true }
    return false
  }

  /// The databases that need repair now.
  mutating func update(_ names: [String]) {
    wanted = names
    if !delays.isEmpty { delays = delays.filter { names.contains($0.key) } }
  }

  /// Begins with the next database that need not wait; its name.
  mutating func begin(at now: ContinuousClock.Instant) -> String? {
    guard case .idle = step,
      let name = wanted.first(where: { name in delays[name].map { $0.until <= now } ?? true })
    else { return nil }
    id &+= 1
    database = name
    step = .reading
    return name
  }

  mutating func request(with checksums: [Checksum]) {
    step = .requesting(Array(checksums.prefix(WireLimit.checksums)), from: 0)
  }

  /// The next part of the request.
  mutating func nextRequest() -> SnapshotRequest? {
    guard case .requesting(let checksums, let start) = step else { return nil }
    let end = min(start + WireLimit.checksumsPerFrame, checksums.count)
    let isLast = end == checksums.count
    step = isLast ? .awaitingBegin : .requesting(checksums, from: end)
    return SnapshotRequest(
      id: id,
      database: database,
      isLast: isLast,
      checksums: Array(checksums[start..<end])
    )
  }

  mutating func receiving(_ begin: SnapshotBegin, taken: UInt32) {
    step = .receiving(begin, taken: taken)
  }

  mutating func ending() { step = .ending }

  /// Done with this database, or so it is hoped: the sink's next report tells.
  mutating func succeed() {
    delays[database] = nil
    wanted.removeAll { $0 == database }
    step = .idle
  }

  mutating func fail(at now: ContinuousClock.Instant, limits: ReplicaSession.Limits) {
    let delay = min(
      delays[database].map { $0.last * 2 } ?? limits.repairDelay,
      limits.longestRepairDelay
    )
    delays[database] = Delay(until: now + delay, last: delay)
    step = .idle
  }
}
