package import Logging
package import NIOCore

/// Carries messages from this node to the other voters: a service.
///
/// It only dials and sends. What the others say comes through this node's `ReplicationServer`, to what its
/// configuration has under `peers`. A message may be lost without a word; one that arrives is
/// what was sent, by the voter that it is said to come from.
package final class PeerNetwork: Sendable {
  package struct Configuration: Sendable {
    /// Where the other voters are, by name; this node is none of them.
    package var peers: [String: NetworkAddress]
    package var security: TransportSecurity
    package var nodeName: String
    /// This node's cluster; nil before it has joined one. Cheap: asked at every tick.
    package var cluster: @Sendable () -> ClusterID?
    package var timing = SessionTiming(handshake: .seconds(2))
    /// Short pauses: a voter that has just come back may be what an election waits for.
    package var backoff = Backoff(shortest: .milliseconds(20), longest: .milliseconds(200))
    /// A voter that does not answer is dialled again after this time; longer waits would only repeat
    /// what the network has lost.
    package var connectTimeout = Duration.seconds(1)
    package var clock = ReplicationClock.system

    package init(
      peers: [String: NetworkAddress],
      security: TransportSecurity,
      nodeName: String,
      cluster: @escaping @Sendable () -> ClusterID?
    ) {
      self.peers = peers
      self.security = security
      self.nodeName = nodeName
      self.cluster = cluster
    }
  }

  /// How long nothing is done at a time by a node that has nobody to dial.
  private static let idleTime = Duration.seconds(3_600)

  private let links: [String: PeerLink]
  private let clock: ReplicationClock

  package init(
    configuration: Configuration,
    metrics: ReplicationMetrics,
    logger: Logger,
    group: any EventLoopGroup
  ) {
    precondition(configuration.peers[configuration.nodeName] == nil, "a node is its own peer")
    var links: [String: PeerLink] = [:]
    for (name, address) in configuration.peers {
      links[name] = PeerLink(
        to: name,
        at: address,
        configuration: configuration,
        metrics: metrics,
        logger: logger,
        group: group
      )
    }
    self.links = links
    clock = configuration.clock
  }

  /// The voters that this node's messages reach.
  package var connected: Set<String> {
    Set(links.lazy.filter { $0.value.isConnected }.map(\.key))
  }

  /// Sends a message to a voter, or drops it where that cannot be done now.
  ///
  /// Never blocks; from any thread. Messages to one voter arrive in the order in which they were sent,
  /// as long as they come from one thread.
  ///
  /// - Parameter bytes: At most `WireLimit.peerMessage`.
  package func send(_ bytes: [UInt8], to voter: String) {
    precondition(bytes.count <= WireLimit.peerMessage, "a voter's message is too long")
    links[voter]?.send(bytes)
  }

  /// Ends when its task is cancelled, after a goodbye.
  package func run() async throws {
    await withDiscardingTaskGroup { group in
      for link in links.values { group.addTask { await link.run() } }
      // The service of a single voter, which has nobody to dial, ends no earlier than that of others.
      while (try? await clock.sleep(Self.idleTime)) != nil {}
    }
  }
}
