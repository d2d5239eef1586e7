extension NodeStatus {
  /// How this node stands among those that elect the primary.
  package struct Lease: Codable, Sendable, Equatable {
    /// How long the primary may go on without further word from a majority; absent where this node is not
    /// the primary, or is the only voter.
    package var remainingMilliseconds: Int64?
    /// How often this node was elected since its start.
    package var elections: Int
    /// How often it has handed the lease over since then.
    package var handOvers: Int
    /// Transactions of this node's applications that wait for a majority of the voters.
    package var commitsWaiting: Int
    package var isVoter: Bool
    /// Voters that this node reaches, itself not counted.
    package var votersConnected: Int
    /// All voters.
    package var voters: Int

    enum CodingKeys: String, CodingKey {
      case elections, voters
      case commitsWaiting = "commits_waiting"
      case handOvers = "hand_overs"
      case isVoter = "is_voter"
      case remainingMilliseconds = "remaining_ms"
      case votersConnected = "voters_connected"
    }
  }
}
