import LTX

/// Clients that are about to write and wait for their turn: a value without I/O.
///
/// Whoever has begun to read before others committed is told by SQLite, or by the node, that the database is busy,
/// once it is its turn, and tries again a moment later. For that attempt the turn is kept (`isOwed`).
struct ParkedWriters: Sendable {
  typealias Answer = @Sendable (StoreError?) -> Void

  /// How long a client is kept waiting, in milliseconds; SQLite is then told that the database is busy.
  static let patience = 5_000
  /// For how long a turn is kept for who is to try again, in milliseconds: SQLite's busy handler waits about as long
  /// between its first attempts.
  static let courtesy = 25

  private struct Writer: Sendable {
    var ticket: UInt64
    var answer: Answer
    /// What it may have read.
    var position: Position
  }

  private var writers: [Writer] = []
  private var lastTicket: UInt64 = 0
  /// Whether somebody was told to try again, and has not done so.
  private(set) var isOwed = false

  var isEmpty: Bool { writers.isEmpty }

  /// - Parameter position: the database's at the moment.
  /// - Returns: what `remove` knows the writer by.
  mutating func park(_ answer: @escaping Answer, at position: Position) -> UInt64 {
    lastTicket += 1
    writers.append(Writer(ticket: lastTicket, answer: answer, position: position))
    return lastTicket
  }

  /// It does not wait any longer; nil when it has been answered.
  mutating func remove(_ ticket: UInt64) -> Answer? {
    guard let index = writers.firstIndex(where: { $0.ticket == ticket }) else { return nil }
    return writers.remove(at: index).answer
  }

  /// It is the turn of all who wait.
  ///
  /// - Parameter position: the database's now.
  mutating func admit(at position: Position) -> [Answer] {
    guard !writers.isEmpty else { return [] }
    isOwed = writers.allSatisfy { $0.position != position }
    return take()
  }

  /// All who wait are to try again.
  mutating func dismiss() -> [Answer] {
    if !writers.isEmpty { isOwed = true }
    return take()
  }

  /// Somebody who does not wait is to try again.
  mutating func owe() { isOwed = true }

  /// Somebody tries again, or the time for that is over.
  ///
  /// - Returns: whether a turn was kept.
  mutating func claim() -> Bool {
    defer { isOwed = false }
    return isOwed
  }

  mutating func take() -> [Answer] {
    defer { writers = [] }
    return writers.map(\.answer)
  }
}
