import Dispatch
import Synchronization

/// Readers of a replica that wait until it has applied all that was committed when they came: linearizable reads by
/// ReadIndex (Ongaro's dissertation, section 6.4).
///
/// The primary is asked once for all who have come meanwhile; whoever comes while a question is under way is part of
/// the next one.
final class ReadGate: Sendable {
  typealias Answer = @Sendable (StoreError?) -> Void

  private struct Reader {
    var database: Database
    var answer: Answer
    var since: ContinuousClock.Instant
    /// What is to be applied before; nil before the primary has told.
    var index: LogIndex?
  }

  private struct State {
    /// Those who have come since the last question.
    var waiting: [Reader] = []
    /// Those for whom the primary was asked.
    var asked: [Reader] = []
    var question: GrantID?
    /// Those who wait until an entry is applied.
    var behind: [Reader] = []
    var isSweeping = false
    /// Whether somebody has waited for too long: all others are told at once, until the primary answers.
    var isClosed = false
    var hasEnded = false

    var isEmpty: Bool { waiting.isEmpty && asked.isEmpty && behind.isEmpty }
  }

  /// How long a reader is kept waiting; SQLite is then told that the database is busy. With a write-ahead log it tries
  /// again by itself, for some ten seconds.
  static let patience = Duration.seconds(5)
  /// How often it is looked who has waited for too long, in milliseconds.
  private static let sweep = 250

  private let state = Mutex(State())
  private let queue = DispatchQueue(label: "halite.reads", qos: .userInitiated)
  /// Asks the primary; nil where there is no connection.
  private let ask: @Sendable () -> GrantID?
  /// Whether a database is as the log says up to an entry.
  private let hasApplied: @Sendable (Database, LogIndex) -> Bool

  init(
    ask: @escaping @Sendable () -> GrantID?,
    hasApplied: @escaping @Sendable (Database, LogIndex) -> Bool
  ) {
    self.ask = ask
    self.hasApplied = hasApplied
  }

  /// Answers once the reader may read, or must not.
  func enter(_ database: Database, _ answer: @escaping Answer) {
    let reader = Reader(database: database, answer: answer, since: .now)
    let (isRefused, mustSweep) = state.withLock { state in
      guard !state.hasEnded, !state.isClosed else { return (true, false) }
      state.waiting.append(reader)
      defer { state.isSweeping = true }
      return (false, !state.isSweeping)
    }
    if isRefused { return answer(Store.readRefusal) }
    askForAll()
    if mustSweep { sweepLater() }
  }

  /// The primary has answered; zero where it does not know.
  func received(_ id: GrantID, _ index: LogIndex) {
    let isOurs = state.withLock { state in
      guard state.question == id else { return false }
      state.question = nil
      if index > .zero {
        state.isClosed = false
        state.behind += state.asked.map { reader in
          var reader = reader
          reader.index = index
          return reader
        }
      } else {
        state.waiting = state.asked + state.waiting
      }
      state.asked = []
      return true
    }
    guard isOurs else { return }
    progressed()
    // Where it does not know, the next round of the sweep asks again.
    if index > .zero { askForAll() }
  }

  /// More has been applied.
  func progressed() {
    let behind = state.withLock { state in
      defer { state.behind = [] }
      return state.behind
    }
    guard !behind.isEmpty else { return }
    var still: [Reader] = []
    for reader in behind {
      if let index = reader.index, hasApplied(reader.database, index) {
        // Its own clients may be writing it.
        reader.database.whenPublished(reader.answer)
      } else {
        still.append(reader)
      }
    }
    guard !still.isEmpty else { return }
    let isOver = state.withLock { state in
      if !state.hasEnded { state.behind += still }
      return state.hasEnded
    }
    guard !isOver else {
      for reader in still { reader.answer(Store.readRefusal) }
      return
    }
    // What was applied in between nobody else would notice.
    if still.contains(where: { reader in
      reader.index.map { hasApplied(reader.database, $0) } ?? false
    }) {
      progressed()
    }
  }

  func connected() { askForAll() }

  func disconnected() {
    state.withLock { state in
      state.question = nil
      state.waiting = state.asked + state.waiting
      state.asked = []
    }
  }

  /// This node follows nobody any more: its own copy is what counts, or nobody may read.
  ///
  /// - Returns: those who wait.
  func end() -> [Answer] {
    state.withLock { state in
      state.hasEnded = true
      defer {
        state.waiting = []
        state.asked = []
        state.behind = []
      }
      return (state.waiting + state.asked + state.behind).map(\.answer)
    }
  }

  private func askForAll() {
    // In one step with the question: its answer must find them.
    state.withLock { state in
      guard state.question == nil, !state.waiting.isEmpty || state.isClosed, let id = ask() else {
        return
      }
      state.question = id
      state.asked = state.waiting
      state.waiting = []
    }
  }

  private func sweepLater() {
    queue.asyncAfter(deadline: .now() + .milliseconds(Self.sweep)) { [weak self] in
      self?.sweepNow()
    }
  }

  private func sweepNow() {
    let limit = ContinuousClock.now - Self.patience
    let (late, goesOn) = state.withLock { state -> ([Reader], Bool) in
      let all = state.waiting + state.asked + state.behind
      let late = all.filter { $0.since < limit }
      if !late.isEmpty {
        state.isClosed = true
        state.waiting.removeAll { $0.since < limit }
        state.asked.removeAll { $0.since < limit }
        state.behind.removeAll { $0.since < limit }
      }
      state.isSweeping = !state.isEmpty || state.isClosed && !state.hasEnded
      return (late, state.isSweeping)
    }
    for reader in late { reader.answer(Store.readRefusal) }
    askForAll()
    progressed()
    if goesOn { sweepLater() }
  }
}
