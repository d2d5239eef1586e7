/// Decides which node is primary.
///
/// A lease names at most one holder per term, and terms only grow. What the holder does under a
/// term is refused by everyone who has seen a higher one, so that a lease that was lost without
/// notice costs availability and never consistency.
///
/// Backends keep the lease in different places (a configuration file, a majority of voters, Consul,
/// etcd, Kubernetes); their protocol logic is a value type and `run` its shell.
package protocol Lease: Sendable {
  /// What is known now. Cheap, from any thread: a commit asks it.
  var state: LeaseState { get }

  /// The state now and after each change or renewal, to each caller independently. A slow caller
  /// misses intermediate states, never the last one. Iterate until the own task is cancelled.
  func states() -> AsyncStream<LeaseState>

  /// Campaigns, renews and watches until the task is cancelled.
  ///
  /// A lease held at that moment is given up first, so that the others need not wait it out.
  func run() async throws

  /// Makes this node the primary; returns once it is.
  func promote() async throws(LeaseError)

  /// Gives up the lease.
  ///
  /// - Parameter successor: The node that should have it next; nil for any other.
  func demote(to successor: String?) async throws(LeaseError)
}
