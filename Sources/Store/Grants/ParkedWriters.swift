import LTX

/// Clients that are about to write and wait for their turn: a value without I/O.
///
/// Whoever has begun to read before others committed is told by SQLite, or by the node, that the database is busy,
/// once it is its turn, and tries again a moment later. For that attempt the turn is kept (`isOwed`).
struct ParkedWriters: Sendable {
  typealias Answer = @Sendable (StoreError?) -> Void

  /// How long a client is kept waiting, in milliseconds; SQLite is then told that the database is busy.
  static let patience = 5_000
  /// The same where nobody is there who could give the turn: other threads of the client, which want to read, may be
  /// waiting for it inside SQLite.
  static let patienceAlone = 250
  /// For how long a turn is kept for who is to try again, in milliseconds: SQLite's busy handler waits about as long
  /// between its first attempts.
  static let shortCourtesy = 25
  /// The same where the last turn was kept in vain: after a dozen attempts SQLite waits for 100 ms each time, and
  /// would come too late for ever.
  static let longCourtesy = 125

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
  /// For how long the next turn is kept, in milliseconds.
  private(set) var courtesy = shortCourtesy
  /// Whether somebody waited in vain, and it was nobody's turn since. Nobody else is kept waiting then: SQLite's busy
  /// handler counts its attempts, some sixty in five seconds, and not the time that each of them takes.
  private(set) var isHopeless = false

  var isEmpty: Bool { writers.isEmpty }

  /// - Parameter position: the database's at the moment.
  /// - Returns: what `expire` knows the writer by.
  mutating func park(_ answer: @escaping Answer, at position: Position) -> UInt64 {
    lastTicket += 1
    writers.append(Writer(ticket: lastTicket, answer: answer, position: position))
    return lastTicket
  }

  /// It has waited for as long as it may; nil when it has been answered.
  mutating func expire(_ ticket: UInt64) -> Answer? {
    guard let index = writers.firstIndex(where: { $0.ticket == ticket }) else { return nil }
    isHopeless = true
    return writers.remove(at: index).answer
  }

  /// All have waited for as long as they may.
  mutating func expire() -> [Answer] {
    if !writers.isEmpty { isHopeless = true }
    return take()
  }

  /// It is the turn of all who wait.
  ///
  /// - Parameter position: the database's now.
  mutating func admit(at position: Position) -> [Answer] {
    isHopeless = false
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

  /// Somebody tries again.
  ///
  /// - Returns: whether a turn was kept.
  mutating func claim() -> Bool {
    if isOwed { courtesy = Self.shortCourtesy }
    defer { isOwed = false }
    return isOwed
  }

  /// The time to try again is over. Who does not come for two turns, one of them kept for long, has given up.
  ///
  /// - Returns: whether a turn was kept.
  mutating func forfeit() -> Bool {
    guard isOwed else { return false }
    isOwed = false
    courtesy = courtesy == Self.shortCourtesy ? Self.longCourtesy : Self.shortCourtesy
    return true
  }

  mutating func take() -> [Answer] {
    defer { writers = [] }
    return writers.map(\.answer)
  }
}
