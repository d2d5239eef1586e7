import LTX
import Store

/// Work for the sink, in the order in which it came; one piece is under way at a time.
struct WorkQueue: Sendable {
  private var waiting: [ReplicaSession.Work] = []
  /// Pieces before this one were started.
  private var head = 0
  private var current: ReplicaSession.Work?
  /// Bytes of entries and pages that wait or are under way.
  private(set) var bytes = 0

  var isEmpty: Bool { current == nil && head == waiting.count }

  private static func size(_ item: ReplicaSession.Work) -> Int {
    switch item {
    case .append(let batch): batch.bytes.count
    case .addSnapshot(_, let pages): pages.reduce(0) { $0 + $1.bytes.count }
    case .prepare, .beginSnapshot, .endSnapshot, .dropDatabase: 0
    }
  }

  /// Entries join those that wait right before them while both together stay within `limit`, so that a
  /// slow sink gets fewer and larger pieces.
  mutating func add(_ item: ReplicaSession.Work, joinUpTo limit: Int) {
    bytes += Self.size(item)
    if case .append(let batch) = item, head < waiting.count,
      case .append(var joined)? = waiting.last,
      joined.bytes.count + batch.bytes.count <= limit, batch.first == joined.last.next
    {
      // Taken out first, so that its bytes are grown in place.
      waiting.removeLast()
      joined.bytes += batch.bytes
      joined.last = batch.last
      joined.commit = max(joined.commit, batch.commit)
      waiting.append(.append(joined))
    } else {
      waiting.append(item)
    }
  }

  mutating func start() -> ReplicaSession.Work? {
    guard current == nil, head < waiting.count else { return nil }
    let item = waiting[head]
    head += 1
    if head == waiting.count {
      waiting.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= Self.compactionThreshold {
      waiting.removeFirst(head)
      head = 0
    }
    current = item
    return item
  }

  /// Started pieces before the array is compacted.
  private static let compactionThreshold = 64

  /// What was under way is over.
  mutating func finish() -> ReplicaSession.Work? {
    guard let item = current else { return nil }
    current = nil
    bytes -= Self.size(item)
    return item
  }

  /// Forgets what waits of a snapshot that was given up; the bytes of its pages.
  mutating func dropSnapshot() -> Int {
    var dropped = 0
    waiting = waiting[head...].filter { item in
      switch item {
      case .beginSnapshot, .addSnapshot, .endSnapshot:
        dropped += Self.size(item)
        return false
      case .prepare, .append, .dropDatabase: return true
      }
    }
    head = 0
    bytes -= dropped
    return dropped
  }
}
