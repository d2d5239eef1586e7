import Synchronization

/// Which entries are committed: on stable storage with a majority of the voters, so that every later
/// primary has them (Raft's commitIndex; Ongaro's dissertation, sections 3.5 and 3.6.2).
///
/// Where commits are asynchronous an entry is committed once it is in the primary's log.
final class CommitIndex: Sendable {
  /// The voters of a cluster whose commits wait for a majority.
  struct Majority: Sendable {
    /// The last entry that each of the others is known to have on stable storage; only in the present term.
    var matches: [String: LogIndex]
    /// The first entry of the term in which this node is the primary; nil while it is not. Earlier entries
    /// are committed only together with it: a majority that has them may yet lose them to another primary.
    var termStart: LogIndex?

    /// The last entry that a majority has.
    ///
    /// - Parameter durable: the last that this node has.
    func index(durable: LogIndex) -> LogIndex? {
      guard let termStart else { return nil }
      let all = (Array(matches.values) + [durable]).sorted(by: >)
      let index = all[all.count / 2]
      return index >= termStart ? index : nil
    }
  }

  private struct Waiter {
    var index: LogIndex
    var done: MountCompletion
  }

  private struct State {
    var index: LogIndex
    var majority: Majority?
    var waiters: [Waiter] = []
    var listeners: [UInt64: @Sendable () -> Void] = [:]
    var nextListener: UInt64 = 0

    mutating func takeBehind(_ index: LogIndex) -> [MountCompletion] {
      defer { waiters.removeAll { $0.index > index } }
      return waiters.filter { $0.index > index }.map(\.done)
    }

    mutating func takeReady() -> [MountCompletion] {
      guard !waiters.isEmpty else { return [] }
      let ready = waiters.filter { $0.index <= index }.map(\.done)
      if !ready.isEmpty { waiters.removeAll { $0.index <= index } }
      return ready
    }
  }

  private let state: Mutex<State>

  init(_ index: LogIndex) { state = Mutex(State(index: index)) }

  var index: LogIndex { state.withLock { $0.index } }

  /// Whether commits wait for a majority.
  var isMajority: Bool { state.withLock { $0.majority != nil } }

  /// How many wait for a majority.
  var waiting: Int { state.withLock { $0.waiters.count } }

  /// - Parameter voters: all of them.
  func require(majorityOf voters: Set<String>, own: String) {
    let others = voters.subtracting([own])
    state.withLock { state in
      state.majority = Majority(
        matches: Dictionary(uniqueKeysWithValues: others.map { ($0, .zero) })
      )
    }
  }

  /// This node is the primary from this entry on.
  func begin(at first: LogIndex) {
    state.withLock { state in
      guard let majority = state.majority else { return }
      state.majority?.matches = majority.matches.mapValues { _ in .zero }
      state.majority?.termStart = first
    }
  }

  /// This node is not the primary any more: what has become of those who wait the log will tell.
  func end(_ error: StoreError) {
    let waiters = state.withLock { state in
      defer { state.waiters = [] }
      state.majority?.termStart = nil
      return state.waiters
    }
    for waiter in waiters { waiter.done(error) }
  }

  /// Another voter has everything up to this entry on stable storage.
  ///
  /// - Parameter durable: the last that this node has; asked for once the voter's is noted. A sync that ends meanwhile
  ///   either finds that, or is found here: else nobody would count them together.
  func match(_ voter: String, _ index: LogIndex, durable: () -> LogIndex) {
    let isNews = state.withLock { state -> Bool in
      guard let known = state.majority?.matches[voter], known != index else { return false }
      state.majority?.matches[voter] = index
      return true
    }
    if isNews { count(durable: durable()) }
  }

  /// Looks what a majority has by now.
  func count(durable: LogIndex) {
    guard let index = state.withLock({ $0.majority?.index(durable: durable) }) else { return }
    advance(to: index)
  }

  /// Everything up to this entry is committed.
  func advance(to index: LogIndex) {
    let (ready, listeners) = state.withLock {
      state -> ([MountCompletion], [@Sendable () -> Void]) in
      guard index > state.index else { return ([], []) }
      state.index = index
      return (state.takeReady(), Array(state.listeners.values))
    }
    for done in ready { done(nil) }
    for listener in listeners { listener() }
  }

  /// The log was cut or emptied and ends with this entry; `error` is for those who wait for one that is gone.
  func cut(to index: LogIndex, _ error: StoreError) {
    let gone = state.withLock { state in
      state.index = min(state.index, index)
      return state.takeBehind(index)
    }
    for done in gone { done(error) }
  }

  /// The log was emptied and continues after an entry that is committed; `error` is for all who wait: whether what they
  /// wait for is among what is committed nobody can tell any more.
  func reset(to index: LogIndex, _ error: StoreError) {
    let gone = state.withLock { state in
      defer { state.waiters = [] }
      state.index = index
      return state.waiters
    }
    for waiter in gone { waiter.done(error) }
  }

  /// Calls `done` once the entry is committed, or with `refusal` when this node is not the primary, or was not in the
  /// present term when the entry was made: another may have taken its place in the log.
  ///
  /// - Parameter isForwarded: whether another node, which is the primary, appended it.
  func wait(
    for index: LogIndex,
    isForwarded: Bool,
    orElse refusal: StoreError,
    done: @escaping MountCompletion
  ) {
    enum Next { case answer(StoreError?), wait }
    let next = state.withLock { state -> Next in
      guard isForwarded || state.majority?.termStart.map({ $0 <= index }) ?? false else {
        return .answer(refusal)
      }
      if index <= state.index { return .answer(nil) }
      state.waiters.append(Waiter(index: index, done: done))
      return .wait
    }
    if case .answer(let error) = next { done(error) }
  }

  /// Calls `wake` after each advance until the token goes.
  func onAdvance(_ wake: @escaping @Sendable () -> Void) -> SubscriptionToken {
    let key = state.withLock { state in
      state.nextListener += 1
      state.listeners[state.nextListener] = wake
      return state.nextListener
    }
    return SubscriptionToken { [weak self] in
      self?.state.withLock { $0.listeners[key] = nil }
    }
  }
}
