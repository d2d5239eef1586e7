package import Replication
package import Store
import Synchronization

/// The cluster this node belongs to and the highest term it has seen: `cluster` in the data
/// directory, two lines of text.
package final class ClusterFile: ClusterRecord {
  private struct State {
    var cluster: ClusterID?
    var term: Term
  }

  private let path: String
  private let directory: String
  private let disk: any Disk
  private let state: Mutex<State>

  /// - Throws: when the file is there and does not say what it should.
  package init(directory: String, disk: any Disk) throws(StoreError) {
    self.directory = directory
    self.disk = disk
    path = directory + "/cluster"
    var found = State(cluster: nil, term: .zero)
    if let bytes = try disk.contents(path, limit: 1024) {
      let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
      guard lines.count == 2, let cluster = ClusterID(rawValue: String(lines[0])),
        let term = UInt64(lines[1])
      else {
        throw StoreError(
          .corrupt,
          "\(path) is damaged; copy the first line from another node of the cluster, with the "
            + "highest term any node shows in `halite status` as the second"
        )
      }
      found = State(cluster: cluster, term: Term(term))
    }
    state = Mutex(found)
  }

  package var cluster: ClusterID? { state.withLock { $0.cluster } }
  package var term: Term { state.withLock { $0.term } }

  package func adopt(cluster: ClusterID, term: Term) throws(StoreError) {
    let known = state.withLock { $0 }
    guard known.cluster != cluster || known.term < term else { return }
    let highest = max(known.term, term)
    try disk.replace(
      path,
      with: Array("\(cluster)\n\(highest)\n".utf8),
      in: directory
    )
    state.withLock { $0 = State(cluster: cluster, term: highest) }
  }
}
