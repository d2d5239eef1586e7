package import Store

/// What a node remembers of its cluster across restarts.
package protocol ClusterRecord: AnyObject, Sendable {
  /// Nil before the node has joined one for good.
  var cluster: ClusterID? { get }
  /// The highest term seen.
  var term: Term { get }
  /// Keeps both, durably: called when a primary is accepted, before anything of it is stored. May block.
  ///
  /// - Parameter isConfirmed: whether a majority belongs to the cluster; else this node does not yet for good.
  func adopt(cluster: ClusterID, term: Term, isConfirmed: Bool) throws(StoreError)
}
