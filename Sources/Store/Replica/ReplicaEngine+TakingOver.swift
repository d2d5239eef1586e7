import Dispatch
import LTX
import Logging
import Synchronization

extension ReplicaEngine {
  /// Takes databases over that clients may have open; until one is taken over nothing is applied to it.
  func takeOver(_ databases: [Database]) {
    let names = databases.filter { $0.published.position.txid > .zero }.map(\.name)
    state.withLock { $0.entering.formUnion(names) }
    tellProgress()
    for name in names { takeOver(name, after: Store.settlingMilliseconds) }
  }

  /// Takes a database over whose grant is lost.
  func takeOverLost(_ name: String) { takeOver(name, after: 0) }

  private func takeOver(_ name: String, after milliseconds: Int) {
    entering.asyncAfter(deadline: .now() + .milliseconds(milliseconds)) { [weak self] in
      guard let self else { return }
      store.workers.async { self.tryToTakeOver(name) }
    }
  }

  private func tryToTakeOver(_ name: String) {
    guard !store.context.isStopping.withLock({ $0 }), !state.withLock({ $0.hasEnded }) else {
      return
    }
    var outcome = TakeOver.done
    do throws(StoreError) {
      if let database = store.database(name) { outcome = try takeOverAlone(database) }
    } catch {
      store.context.logger.error(
        "a database could not be taken over; it is tried again",
        metadata: ["database": "\(name)", "error": "\(error)"]
      )
      outcome = .later
    }
    if case .later = outcome { return takeOver(name, after: Store.takeOverMilliseconds) }
    store.database(name)?.isLeaving.store(false, ordering: .releasing)
    state.withLock { _ = $0.entering.remove(name) }
    applier(name).wake()
    tellProgress()
  }

  /// Takes a database over while nothing is applied to it, and has it repaired where it is not what it should be.
  func takeOverAlone(_ database: Database) throws(StoreError) -> TakeOver {
    let outcome = try applier(database.name).alone { () throws(StoreError) in
      try database.takeOver()
    }
    if case .differs = outcome { try markForRepair([database.name]) }
    return outcome
  }

  func isEntering(_ name: String) -> Bool { state.withLock { $0.entering.contains(name) } }

  /// What clients were writing is to be taken over; nothing is applied to it until then.
  func noteEntering(_ name: String) { state.withLock { _ = $0.entering.insert(name) } }

  /// Databases that clients were writing and have not let go of.
  package func enteringDatabases() -> [String] { state.withLock { $0.entering.sorted() } }

  /// Nothing more is applied or taken over.
  ///
  /// - Returns: clients that wait to write.
  func end() -> [ParkedWriters.Answer] {
    state.withLock { $0.hasEnded = true }
    return borrowing.end()
  }

  /// The primary whose entries come from now on is that of this term.
  package func follow(_ term: Term) { state.withLock { $0.term = term } }

  /// Whether all that has come is applied, so that this node could be the primary.
  package var isCurrent: Bool {
    let progress = progress()
    return state.withLock { $0.entering.isEmpty && $0.repairs.isEmpty && $0.undecided.isEmpty }
      && progress.applied >= progress.received
  }

  /// Whether this node has all databases that its log speaks of.
  package var isWhole: Bool { state.withLock { $0.repairs.isEmpty } }
}
