/// Who may write one database, and who waits for that: a value without I/O, kept by the primary.
///
/// First come, first served, among replicas and the primary's own clients, which count as one. Whoever has the
/// grant keeps it until somebody else wants it, so that what one node writes at a stretch costs one round trip; then
/// it is asked back, and is given back once the transaction under way has ended.
struct GrantQueue<Party: Hashable & Sendable>: Sendable {
  /// What the shell is to do; it answers with `gaveBack` and `given`.
  enum Directive: Hashable, Sendable {
    /// Ask the holder to give the grant back.
    case recall(Party)
    /// Let this party write; it is the holder.
    case give(Party)
  }

  /// Who has the grant.
  private(set) var holder: Party
  private(set) var waiting: [Party] = []
  /// To whom the grant goes when nobody wants it.
  let owner: Party
  /// Whether the holder has been asked.
  private(set) var isRecalled = false
  /// How often a holder has been asked.
  private(set) var recalls = 0
  /// Whether nobody but the owner is given anything.
  private var isPaused = false

  init(owner: Party) {
    self.owner = owner
    holder = owner
  }

  /// Whether the owner has it, and is not about to give it away.
  var isOwned: Bool { holder == owner && !isRecalled }

  /// Somebody wants to write. Asking twice is asking once.
  mutating func ask(_ party: Party) -> [Directive] {
    guard !waiting.contains(party), party != holder || isRecalled else { return [] }
    waiting.append(party)
    return recallIfWanted()
  }

  /// The holder does not write any more, or somebody does not wait any longer.
  mutating func gaveBack(_ party: Party) -> [Directive] {
    guard party == holder else {
      drop(party)
      withdraw()
      return []
    }
    isRecalled = false
    if isPaused {
      holder = owner
      drop(owner)
    } else {
      holder = waiting.isEmpty ? owner : waiting.removeFirst()
    }
    return [.give(holder)] + recallIfWanted()
  }

  /// The owner wants to have it, and nobody else is given it until `resume`.
  mutating func pause() -> [Directive] {
    isPaused = true
    guard holder != owner, !isRecalled else { return [] }
    return recall()
  }

  mutating func resume() -> [Directive] {
    isPaused = false
    withdraw()
    return recallIfWanted()
  }

  /// Whether a holder that was asked for the n-th time is still to give the grant back.
  func isDue(_ party: Party, recall: Int) -> Bool {
    party == holder && isRecalled && recall == recalls
  }

  /// Nobody else wants it any more: a holder that is about to give it back may take its time. What the owner has
  /// begun for that comes to its end.
  private mutating func withdraw() {
    if waiting.isEmpty, !isPaused, holder != owner { isRecalled = false }
  }

  private mutating func drop(_ party: Party) {
    if let index = waiting.firstIndex(of: party) { waiting.remove(at: index) }
  }

  private mutating func recallIfWanted() -> [Directive] {
    guard !waiting.isEmpty, !isRecalled, !isPaused else { return [] }
    return recall()
  }

  private mutating func recall() -> [Directive] {
    isRecalled = true
    recalls += 1
    return [.recall(holder)]
  }
}
