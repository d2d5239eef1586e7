package import Store

/// What a node remembers of its cluster across restarts.
package protocol ClusterRecord: AnyObject, Sendable {
  /// Nil before the node has joined one.
  var cluster: ClusterID? { get }
  /// The highest term seen.
  var term: Term { get }
  /// Keeps both, durably: called when a primary is accepted, before anything of it is stored. May block.
  func adopt(cluster: ClusterID, term: Term) throws(StoreError)
}
