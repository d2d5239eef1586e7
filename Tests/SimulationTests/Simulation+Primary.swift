@testable import Lease
import LTX
import Replication
@testable import Store

// What the sessions of a primary ask of its log and its databases.

extension Simulation {
  mutating func work(_ directive: PrimaryPeer.Directive, _ id: Int) {
    guard let at = place(id) else { return }
    let node = connections[at].primary
    let now = nodes[node].now(time)
    switch directive {
    case .summarize:
      endEarlierLending(id)
      let store = nodes[node].store
      connections[at].peer.summarized(
        log: summary(node),
        databases: store.databases.enumerated().map { number, database in
          DatabaseSummary(
            name: SimulatedStore.name(number),
            position: database.position,
            pageSize: Self.pageBytes,
            pages: UInt32(SimulatedStore.pages)
          )
        },
        base: entryID(
          node,
          defect == .resetToUndecided ? nodes[node].log.entries.count : nodes[node].applied
        ),
        isWhole: store.isWhole || defect == .resetByTheIncomplete
      )
    case .readLog(let first, let maxBytes):
      let result: Result<LogBatch, StoreError> =
        batch(node, from: first, maxBytes: maxBytes).map { .success($0) }
        ?? .failure(StoreError(.notFound, "entry \(first) was removed"))
      connections[at].peer.read(result, at: now)
    case .openSnapshot(let snapshot, let name, let checksums):
      connections[at].peer.opened(snapshot, openSnapshot(node, at, snapshot, name, checksums))
    case .readSnapshot(let snapshot, let maxBytes):
      connections[at].peer.pages(snapshot, readSnapshot(node, at, snapshot, maxBytes))
    case .endSnapshot(let snapshot):
      connections[at].peer.ended(snapshot, endSnapshot(node, at, snapshot))
    case .send, .recent, .dropSnapshot, .acknowledged, .grant, .noteReplica, .higherTerm, .close:
      break
    }
  }

  private mutating func openSnapshot(
    _ node: Int,
    _ at: Int,
    _ id: UInt32,
    _ name: String,
    _ checksums: [Checksum]
  ) -> Result<SnapshotBegin, StoreError> {
    guard let number = SimulatedStore.number(name), nodes[node].store.isServing else {
      return .failure(StoreError(.busy, "not yet"))
    }
    let database = nodes[node].store.databases[number]
    let differing = database.pages.indices.filter { page in
      page >= checksums.count
        || checksums[page] != SimulatedStore.checksum(page, database.pages[page])
    }
    connections[at].snapshot = SimulatedSnapshot(id: id, database: number, pages: differing)
    note("n\(node) sends database \(number) at entry \(database.entry)")
    return .success(
      SnapshotBegin(
        database: name,
        index: LogIndex(UInt64(database.entry)),
        pageSize: Self.pageBytes,
        pages: UInt32(SimulatedStore.pages),
        differing: UInt32(differing.count)
      )
    )
  }

  private mutating func readSnapshot(
    _ node: Int,
    _ at: Int,
    _ id: UInt32,
    _ maxBytes: Int
  ) -> Result<[SnapshotPage]?, StoreError> {
    guard let snapshot = connections[at].snapshot, snapshot.id == id, nodes[node].store.isServing
    else { return .failure(StoreError(.busy, "not any more")) }
    let taken = snapshot.pages.prefix(max(1, maxBytes / (2 * Int(Self.pageBytes))))
    guard !taken.isEmpty else { return .success(nil) }
    connections[at].snapshot?.pages.removeFirst(taken.count)
    let pages = nodes[node].store.databases[snapshot.database].pages
    return .success(
      taken.map { SnapshotPage(number: PageNumber(UInt32($0 + 1)), bytes: Self.bytes(pages[$0])) }
    )
  }

  private mutating func endSnapshot(
    _ node: Int,
    _ at: Int,
    _ id: UInt32
  ) -> Result<SnapshotEnd, StoreError> {
    guard let snapshot = connections[at].snapshot, snapshot.id == id, nodes[node].store.isServing
    else { return .failure(StoreError(.busy, "not any more")) }
    let database = nodes[node].store.databases[snapshot.database]
    return .success(
      SnapshotEnd(
        index: LogIndex(UInt64(database.entry)),
        position: database.position,
        pages: UInt32(SimulatedStore.pages)
      )
    )
  }
}
