import Store

/// The snapshot that is being sent to one replica.
struct SnapshotSender: Sendable {
  enum State: Sendable {
    case idle
    /// Checksums arrive.
    case collecting(SnapshotRequest)
    case opening
    case sending(SnapshotBegin)
    /// All pages are read; the end is asked for.
    case ending(SnapshotBegin)
    /// The end waits for the pages before it and for the entries that it needs.
    case ended(SnapshotBegin, SnapshotEnd)
  }

  /// Chunks read ahead, so that reading and sending overlap.
  private static let readAhead = 2

  private(set) var state = State.idle
  /// The request that is being served.
  private(set) var id: UInt32 = 0
  private var pages: [[SnapshotPage]] = []
  private var isReading = false
  /// Bytes of pages sent over the whole connection, and how many of them the replica has taken in.
  private var sentBytes: UInt64 = 0
  private var takenBytes: UInt64 = 0
  private(set) var sentPages: UInt32 = 0

  var begin: SnapshotBegin? {
    switch state {
    case .idle, .collecting, .opening: nil
    case .sending(let begin), .ending(let begin), .ended(let begin, _): begin
    }
  }

  var hasPages: Bool { !pages.isEmpty }

  func isServing(_ id: UInt32) -> Bool {
    if case .idle = state { return false }
    return self.id == id
  }

  /// Gives up what is under way; its id when the shell holds something open.
  mutating func stop() -> UInt32? {
    defer {
      state = .idle
      pages = []
      isReading = false
    }
    switch state {
    case .idle, .collecting: return nil
    case .opening, .sending, .ending, .ended: return id
    }
  }

  /// The request so far, when checksums of this id are being collected. It is taken out, so that it
  /// can grow without a copy.
  mutating func takeCollected(_ id: UInt32) -> SnapshotRequest? {
    guard case .collecting(let request) = state, request.id == id else { return nil }
    state = .idle
    return request
  }

  mutating func collect(_ request: SnapshotRequest) {
    id = request.id
    state = .collecting(request)
  }

  mutating func open() { state = .opening }

  mutating func opened(_ begin: SnapshotBegin) {
    state = .sending(begin)
    sentPages = 0
  }

  /// The next thing to ask the shell for.
  mutating func nextRead(limits: PrimaryPeer.Limits) -> PrimaryPeer.Directive? {
    guard case .sending = state, !isReading, pages.count < Self.readAhead,
      sentBytes - takenBytes < UInt64(limits.snapshotWindow)
    else { return nil }
    isReading = true
    return .readSnapshot(id, maxBytes: limits.chunk)
  }

  mutating func read(_ chunk: [SnapshotPage]) {
    isReading = false
    pages.append(chunk)
  }

  /// There are no more pages.
  mutating func exhausted(_ begin: SnapshotBegin) {
    isReading = false
    state = .ending(begin)
  }

  mutating func ended(_ begin: SnapshotBegin, _ end: SnapshotEnd) { state = .ended(begin, end) }

  mutating func takePages() -> Message? {
    guard !pages.isEmpty else { return nil }
    let chunk = pages.removeFirst()
    sentBytes += UInt64(chunk.reduce(0) { $0 + $1.bytes.count })
    sentPages &+= UInt32(chunk.count)
    return .snapshotPages(id, chunk)
  }

  /// The end, once the pages and the entries up to it are on their way.
  mutating func takeEnd(sent: LogIndex) -> Message? {
    guard case .ended(_, let end) = state, pages.isEmpty, sent >= end.index else { return nil }
    state = .idle
    return .snapshotEnd(id, end)
  }

  /// False when the replica cannot have taken in so much.
  mutating func acknowledge(bytes: UInt64) -> Bool {
    guard bytes <= sentBytes, bytes >= takenBytes else { return false }
    takenBytes = bytes
    return true
  }
}
