/// What a server does with the voters that connect to it. This node's cluster it knows by itself.
package struct PeerAcceptance: Sendable {
  /// The names of the voters that may connect.
  package var names: Set<String>
  /// Takes a message, on an event loop: must not block.
  package var receive: @Sendable (_ bytes: [UInt8], _ from: String) -> Void

  package init(
    names: Set<String>,
    receive: @escaping @Sendable (_ bytes: [UInt8], _ from: String) -> Void
  ) {
    self.names = names
    self.receive = receive
  }
}
