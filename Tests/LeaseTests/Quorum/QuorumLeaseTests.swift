import Synchronization
import Testing

@testable import Lease

/// Three voters in one process, with the real clock and a short ttl.
@Suite(.timeLimit(.minutes(2)), .serialized) struct QuorumLeaseTests {
  @Test func oneOfThreeHoldsTheLease() async throws {
    try await QuorumCluster.with { cluster in
      let holder = try await cluster.holder()
      for lease in cluster.leases.values {
        try await cluster.until("everybody knows it") { lease.state.holder?.name == holder }
      }
      #expect(cluster.holders == [holder])
      #expect(cluster.leases.values.allSatisfy { $0.state.term > .zero })
    }
  }

  @Test func anotherTakesOverFromWhoIsCutOff() async throws {
    try await QuorumCluster.with { cluster in
      let first = try await cluster.holder()
      let term = try #require(cluster.leases[first]).state.term
      cluster.network.cutOff(first)
      try await cluster.until("it gives up") { !cluster.holders.contains(first) }
      let second = try await cluster.holder()
      #expect(second != first)
      #expect(try #require(cluster.leases[second]).state.term > term)
      cluster.network.cutOff(nil)
      let old = try #require(cluster.leases[first])
      try await cluster.until("it follows") { old.state.holder?.name == second }
    }
  }

  @Test func theLeaseIsHandedToWhoIsNamed() async throws {
    try await QuorumCluster.with { cluster in
      let first = try await cluster.holder()
      let successor = try #require(cluster.leases.keys.filter { $0 != first }.max())
      let lease = try #require(cluster.leases[first])
      try await cluster.until("it was heard") { lease.successors.contains(successor) }
      try await lease.demote(to: successor)
      #expect(!lease.state.isHeldHere)
      try await cluster.until("it has it") { cluster.holders == [successor] }
    }
  }

  @Test func whoAsksForTheLeaseGetsIt() async throws {
    try await QuorumCluster.with { cluster in
      let first = try await cluster.holder()
      let name = try #require(cluster.leases.keys.filter { $0 != first }.min())
      let lease = try #require(cluster.leases[name])
      try await cluster.until("the holder is known") { lease.state.holder?.name == first }
      try await lease.promote()
      #expect(lease.state.isHeldHere)
      #expect(cluster.holders == [name])
    }
  }

  @Test func theOnlyVoterHoldsItForGood() async throws {
    try await QuorumCluster.with(names: ["only"]) { cluster in
      let lease = try #require(cluster.leases["only"])
      try await cluster.until("it has it") { lease.state.isHeldHere }
      #expect(lease.state.deadline == nil)
    }
  }
}
