@testable import Lease
@testable import Store

// What befalls the databases of a node, and what it does about that by itself.

extension Simulation {
  /// A page that nobody has written.
  static let rot = 1 << 40

  /// From time to time a node writes its databases out, cuts its log and looks at its pages.
  mutating func keepHouse(_ node: Int) {
    if chance(10) { writeOut(node) }
    if chance(5) { cutLog(node) }
    if chance(20) { scrub(node) }
  }

  private mutating func writeOut(_ node: Int) {
    guard nodes[node].log.durable >= nodes[node].applied else { return }
    let store = nodes[node].store
    for number in store.databases.indices where store.isReadable(number) {
      nodes[node].store.stored[number] = store.databases[number]
    }
    nodes[node].store.storedCommit = nodes[node].applied
  }

  /// Forgets entries that no database of this node needs any more; a replica may.
  private mutating func cutLog(_ node: Int) {
    let store = nodes[node].store
    let needed = store.stored.indices.filter { !store.repairs.contains($0) }
      .map { store.stored[$0].entry }
    let staged = store.staging.values.map { Int($0.begin.index.rawValue) }
    let limit =
      defect == .cutBeforeWrittenOut
      ? nodes[node].applied : min(store.storedCommit, (needed + staged).min() ?? .max)
    let first = nodes[node].log.first
    guard limit >= first else { return }
    let next = first + 1 + pick(limit - first + 1)
    nodes[node].log.first = next
    note("n\(node) cuts its log before \(next)")
  }

  private mutating func scrub(_ node: Int) {
    guard nodes[node].reign == nil else { return }
    for (number, database) in nodes[node].store.databases.enumerated()
    where nodes[node].store.isReadable(number) && database.pages != database.sums {
      note("n\(node) finds database \(number) damaged")
      nodes[node].store.repairs.insert(number)
      nodes[node].store.damaged.insert(number)
      wakeSessions(node)
    }
  }

  /// A page of a replica rots, while all others are whole: what is damaged on all nodes is lost.
  mutating func damage(_ node: Int) {
    let isAnyDamaged = nodes.contains { node in
      !node.store.isWhole || node.store.databases.contains { $0.pages != $0.sums }
    }
    guard nodes.count > 1, nodes[node].reign == nil, !nodes[node].isHeld, !isAnyDamaged else {
      return
    }
    let (number, page) = (pick(nodes[node].store.databases.count), pick(SimulatedStore.pages))
    guard nodes[node].store.isReadable(number) else { return }
    note("n\(node) has a damaged page in database \(number)")
    nodes[node].store.databases[number].pages[page] = Self.rot
    nodes[node].store.stored[number].pages[page] = Self.rot
  }

  /// An operator brings back damaged pages from a backup: together with other faults damage may have left no node
  /// from which they could come.
  mutating func undoDamage(_ node: Int) {
    for number in nodes[node].store.databases.indices {
      for page in 0..<SimulatedStore.pages
      where nodes[node].store.databases[number].pages[page] == Self.rot {
        let sum = nodes[node].store.databases[number].sums[page]
        nodes[node].store.databases[number].pages[page] = sum
        nodes[node].store.stored[number].pages[page] = nodes[node].store.stored[number].sums[page]
        let isHeld = nodes[node].store.stored[number].entry + 1 >= nodes[node].log.first
        if isHeld, nodes[node].store.damaged.remove(number) != nil {
          nodes[node].store.repairs.remove(number)
        }
      }
    }
  }

  /// What a crash leaves, once the log has lost its end: of each page what was stored, or what the log has.
  mutating func crashStore(_ node: Int) {
    let log = nodes[node].log
    for number in nodes[node].store.databases.indices {
      var database = nodes[node].store.stored[number]
      var newest = database
      database.undecided = 0
      for index in database.entry..<max(database.entry, log.entries.count) {
        guard let change = log.entries[index].change, change.database == number,
          change.transaction > database.transaction
        else { continue }
        newest.apply(change)
        if defect != .readUndecided { database.undecided = index + 1 }
      }
      for page in 0..<SimulatedStore.pages where chance(50) {
        database.pages[page] = newest.pages[page]
        database.sums[page] = newest.sums[page]
      }
      nodes[node].store.databases[number] = database
    }
    let store = nodes[node].store
    nodes[node].applied = min(store.storedCommit, log.entries.count)
    nodes[node].store.commits = SimulatedStore.commits(
      nodes[node].applied,
      nodes.map(\.name),
      nodes[node].name
    )
    nodes[node].store.staging = [:]
    nodes[node].store.opening = nil
    nodes[node].store.isServing = false
    nodes[node].store.parked = store.parked.map { _ in nil }
    nodes[node].store.loans = store.loans.map { _ in SimulatedLoan() }
    nodes[node].store.read = nil
    // Clients that wrote there will never know.
    nodes[node].store.borrows = store.borrows.map { _ in SimulatedBorrow() }
    nodes[node].seen = store.databases.map { _ in 0 }
    hangUpAll(node)
  }

  /// It takes what it knows to be committed.
  mutating func restartStore(_ node: Int) {
    for number in nodes[node].store.databases.indices {
      checkContent(node, number)
      applyLater(node, number)
    }
  }
}
