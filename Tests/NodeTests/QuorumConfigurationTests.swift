import Testing

@testable import Node

/// `lease.type: quorum`: what is read of it, and what is refused.
struct QuorumConfigurationTests {
  private let security = """
    replication: {addr: "127.0.0.1:1", advertise: "127.0.0.1:1", tls: {insecure: true}}

    """

  @Test func votersAreRead() throws {
    let (parsed, problems) = parseConfiguration(
      security + """
        lease:
          type: quorum
          hostname: n1
          ttl: 500ms
          priority: 3
          quorum: {peers: {n1: "127.0.0.1:1", n2: "127.0.0.2:2", n3: "[::1]:3"}}
        """
    )
    #expect(problems == [])
    guard case .quorum(let quorum) = parsed.lease.kind else {
      Issue.record("\(parsed.lease.kind)")
      return
    }
    #expect(
      quorum.voters.mapValues(\.description) == [
        "n1": "127.0.0.1:1", "n2": "127.0.0.2:2", "n3": "[::1]:3",
      ]
    )
    #expect(quorum.ttl == .milliseconds(500) && quorum.priority == 3 && quorum.isCandidate)
    #expect(parsed.isCandidate == true)
  }

  @Test(arguments: [
    (2, "", SyncMode.async), (3, "", .quorum), (5, "", .quorum), (3, "sync: async, ", .async),
    (1, "sync: quorum, ", .quorum),
  ])
  func commitsWaitForAMajorityWhereOneSurvivesALoss(voters: Int, said: String, sync: SyncMode) {
    let peers = (1...voters).map { "n\($0): \"127.0.0.1:\($0)\"" }.joined(separator: ", ")
    let (parsed, problems) = parseConfiguration(
      security.replacing("{addr", with: "{\(said)addr")
        + "lease: {type: quorum, hostname: n1, quorum: {peers: {\(peers)}}}"
    )
    #expect(problems == [])
    #expect(parsed.replication.sync == sync)
  }

  @Test func aMajorityNeedsVoters() {
    let (_, problems) = parseConfiguration(
      security.replacing("{addr", with: "{sync: quorum, addr")
        + "lease: {type: static, hostname: n1, primary: \"127.0.0.1:1\"}"
    )
    #expect(
      problems.contains { "\($0)".contains("it needs \"lease.type: quorum\"") },
      "\(problems)"
    )
  }

  @Test func aNodeThatIsNotNamedFollows() throws {
    let (parsed, problems) = parseConfiguration(
      security + "lease: {type: quorum, hostname: n4, quorum: {peers: {n1: \"127.0.0.1:1\"}}}"
    )
    #expect(problems == [])
    #expect(parsed.isCandidate == false)
    guard case .quorum(let quorum) = parsed.lease.kind else { return }
    #expect(quorum.ttl == .seconds(2))
  }

  @Test(arguments: [
    ("{type: quorum, hostname: n1}", "\"lease.quorum.peers\" is missing"),
    ("{type: quorum, hostname: n1, quorum: {}}", "\"lease.quorum.peers\" is missing"),
    (
      "{type: quorum, hostname: n1, quorum: {peers: {n1: \"127.0.0.1:2\"}}}",
      "\"lease.quorum.peers.n1\" is 127.0.0.1:2, but this node is reached at"
    ),
    (
      "{type: quorum, hostname: n1, quorum: {peers: {n1: \"127.0.0.1:1\", n2: n2}}}",
      "\"lease.quorum.peers.n2\" must be an address"
    ),
    (
      "{type: quorum, hostname: n1, ttl: 1ms, quorum: {peers: {n1: \"127.0.0.1:1\"}}}",
      "\"lease.ttl\" must be at least"
    ),
    (
      "{type: quorum, hostname: n1, priority: high, quorum: {peers: {n1: \"127.0.0.1:1\"}}}",
      "\"lease.priority\" must be a whole number"
    ),
    (
      "{type: quorum, hostname: n1, quorum: {peer: {n1: \"127.0.0.1:1\"}}}",
      "unknown key \"lease.quorum.peer\"; did you mean \"peers\"?"
    ),
    (
      "{type: quorum, hostname: n1, primary: \"127.0.0.1:1\", quorum: {peers: {n1: \"127.0.0.1:1\"}}}",
      "\"lease.primary\" has no effect with \"type: quorum\""
    ),
  ])
  func mistakesAreNamed(lease: String, message: String) {
    let (_, problems) = parseConfiguration(security + "lease: " + lease)
    #expect(problems.contains { $0.contains(message) }, "\(problems)")
  }

  @Test func logsAreNotPassedThroughWhereThePrimaryCanChange() {
    let (_, problems) = parseConfiguration(
      security
        + "fuse: {passthrough: all}\nlease: {type: quorum, hostname: n1, quorum: {peers: {n1: \"127.0.0.1:1\"}}}"
    )
    #expect(problems.count == 1)
    #expect(problems.first?.contains("is for a primary that stays one") == true)
  }
}
