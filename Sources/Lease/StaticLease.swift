/// One fixed primary, named in every node's configuration: the node whose `advertise` address it is.
///
/// There is no failover: while the primary is away the others serve reads. The lease never expires
/// because nobody else can take it. The term is handed in because it must grow with every start of
/// the primary (two starts may have written different entries after the same crash), and only the
/// store keeps numbers across starts.
package struct StaticLease: Lease {
  package let state: LeaseState

  /// - Parameters:
  ///   - name: This node's name.
  ///   - advertise: The address at which the peers reach this node, `host:port`; nil for none.
  ///   - primary: The address of the primary, as every node's configuration has it.
  ///   - term: On the primary a term above every earlier one; on a replica the last one known.
  package init(name: String, advertise: String?, primary: String, term: LeaseTerm) {
    let isHeldHere = advertise == primary
    state = LeaseState(
      holder: LeaseHolder(name: isHeldHere ? name : nil, address: primary),
      term: term,
      isHeldHere: isHeldHere,
      deadline: nil
    )
  }

  /// A node without peers: it is the primary.
  package init(soleNode name: String, address: String, term: LeaseTerm) {
    self.init(name: name, advertise: address, primary: address, term: term)
  }

  package func states() -> AsyncStream<LeaseState> {
    // Left open after its one element: an end would look like a lease that stopped.
    AsyncStream(bufferingPolicy: .bufferingNewest(1)) { $0.yield(state) }
  }

  package func run() async throws {
    // Nothing to renew; cancellation ends the wait.
    let (stream, _) = AsyncStream<Never>.makeStream()
    for await _ in stream {}
  }

  package func promote() async throws(LeaseError) {
    if state.isHeldHere { return }
    throw LeaseError(
      .unsupported,
      "A static lease has one fixed primary (\(state.holder?.address ?? "none")). To move it, change"
        + " lease.primary in the configuration of every node and restart them."
    )
  }

  package func demote(to successor: String?) async throws(LeaseError) {
    if !state.isHeldHere { return }
    throw LeaseError(
      .unsupported,
      "A static lease cannot be given up. To make another node primary, change lease.primary in the"
        + " configuration of every node and restart them."
    )
  }
}
