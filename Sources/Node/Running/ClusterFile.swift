package import Replication
package import Store
import Synchronization

/// The cluster this node belongs to and the highest term it has seen: `cluster` in the data
/// directory, two lines of text, and a third while the cluster is only proposed.
///
/// Who is elected first proposes a name. Where another is elected before a majority has anything of that cluster,
/// two are proposed, and the first must bind nobody: before it is confirmed a node says that it belongs to no
/// cluster, and takes on that of the primary it follows. It is confirmed before anything is written, when a majority
/// has an entry of it; whoever is elected afterwards has that too, and with it the name.
package final class ClusterFile: ClusterRecord {
  private struct State {
    var cluster: ClusterID?
    var isProposed: Bool
    var term: Term

    var text: String {
      "\(cluster?.rawValue ?? "")\n\(term)\n" + (isProposed ? ClusterFile.proposed + "\n" : "")
    }
  }

  private static let proposed = "proposed"

  private let path: String
  private let directory: String
  private let disk: any Disk
  private let state: Mutex<State>

  /// - Throws: when the file is there and does not say what it should.
  package init(directory: String, disk: any Disk) throws(StoreError) {
    self.directory = directory
    self.disk = disk
    path = directory + "/cluster"
    var found = State(cluster: nil, isProposed: false, term: .zero)
    if let bytes = try disk.contents(path, limit: 1024) {
      let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
      guard (2...3).contains(lines.count), let cluster = ClusterID(rawValue: String(lines[0])),
        let term = UInt64(lines[1]), lines.count == 2 || lines[2] == Self.proposed
      else {
        throw StoreError(
          .corrupt,
          "\(path) is damaged; copy the first line from another node of the cluster, with the "
            + "highest term any node shows in `halite status` as the second"
        )
      }
      found = State(cluster: cluster, isProposed: lines.count == 3, term: Term(term))
    }
    state = Mutex(found)
  }

  package var cluster: ClusterID? { state.withLock { $0.isProposed ? nil : $0.cluster } }
  package var term: Term { state.withLock { $0.term } }
  /// What a primary gives to those that follow it.
  package var given: ClusterID? { state.withLock { $0.cluster } }

  /// Costs nothing where it is known.
  package func adopt(cluster: ClusterID, term: Term, isConfirmed: Bool) throws(StoreError) {
    let known = state.withLock { $0 }
    let wasConfirmed = known.cluster == cluster && !known.isProposed
    let changed = State(
      cluster: cluster,
      isProposed: !isConfirmed && !wasConfirmed,
      term: max(known.term, term)
    )
    guard changed.text != known.text else { return }
    try disk.replace(path, with: Array(changed.text.utf8), in: directory)
    state.withLock { $0 = changed }
  }
}
