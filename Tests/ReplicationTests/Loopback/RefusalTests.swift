import Foundation
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import Replication
import Store
import Synchronization
import Testing

/// Peers that must be turned away: refused, counted each time, logged once, and nothing changes.
@Suite(.timeLimit(.minutes(2))) struct RefusalTests {
  private func refusals(_ cluster: Cluster, _ reason: RefusalReason) -> Int {
    cluster.metrics.current.refusals[reason] ?? 0
  }

  private func logged(_ cluster: Cluster, _ reason: RefusalReason) -> Int {
    cluster.log.all("A peer was refused").count { $0.metadata["reason"] == reason.label }
  }

  /// A replica with these files is refused by the server again and again, for one reason.
  private func expectRefused(
    _ reason: RefusalReason,
    name: String = "node2",
    _ contents: (Cluster) throws -> TLSFileContents
  ) async throws {
    try await withCluster { cluster, server, port in
      cluster.source.commit("a.db", page: 1, fill: 1)
      let sink = FakeSink()
      var contents = try contents(cluster)
      let own = contents.authority
      // The replica trusts the server, so that the refusal is the server's.
      contents.authority += try cluster.authority.files().certificate
      let client = try cluster.client(
        port: port,
        sink: sink,
        name: name,
        security: .tls(cluster.credentials(contents))
      )
      try await following(client) {
        try await eventually("refused three times") { refusals(cluster, reason) >= 3 }
        #expect(client.status.failure != nil)
      }
      #expect(own.isEmpty == false)
      #expect(logged(cluster, reason) == 1)
      #expect(Set(cluster.metrics.current.refusals.keys) == [reason])
      #expect(server.peers().isEmpty)
      #expect(sink.state.withLock { $0.log.entries.isEmpty })
    }
  }

  @Test func aCertificateOfAnotherAuthority() async throws {
    try await expectRefused(.otherAuthority) { cluster in
      let other = try CertificateAuthority(named: "test authority", now: Date())
      return try cluster.contents("node2", by: other)
    }
  }

  @Test func anExpiredCertificate() async throws {
    try await expectRefused(.expiredCertificate) { cluster in
      try cluster.contents("node2", from: Date() - 7_200, until: Date() - 3_600)
    }
  }

  @Test func aCertificateOfTheFuture() async throws {
    try await expectRefused(.expiredCertificate) { cluster in
      try cluster.contents("node2", from: Date() + 3_600, until: Date() + 7_200)
    }
  }

  @Test func aCertificateForAnotherName() async throws {
    try await expectRefused(.wrongName, name: "node3") { cluster in
      try cluster.contents("node2")
    }
  }

  @Test func noCertificate() async throws {
    try await withCluster { cluster, server, port in
      let authority = try NIOSSLCertificate.fromPEMBytes(
        Array(try cluster.authority.files().certificate.utf8)
      )
      for round in 1...3 {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .certificates(authority)
        configuration.certificateVerification = .noHostnameVerification
        let tls = try NIOSSLContext(configuration: configuration)
        let channel = try await ClientBootstrap(group: cluster.group)
          .channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
              try channel.pipeline.syncOperations.addHandler(
                NIOSSLClientHandler(context: tls, serverHostname: nil)
              )
            }
          }
          .connect(host: "127.0.0.1", port: port).get()
        try await channel.closeFuture.get()
        try await eventually("counted") { refusals(cluster, .noCertificate) == round }
      }
      #expect(logged(cluster, .noCertificate) == 1)
      #expect(server.peers().isEmpty)
    }
  }

  @Test func plainText() async throws {
    try await withCluster { cluster, _, port in
      let hello = Samples.bytes(of: Frame(term: Term(1), message: Samples.messages[0]))
      for (round, bytes) in [hello, Array("GET / HTTP/1.1\r\n\r\n".utf8), [0]].enumerated() {
        let peer = try await RawPeer(port: port, group: cluster.group)
        try await peer.send(bytes)
        try await peer.closed()
        #expect(refusals(cluster, .plainText) == round + 1)
      }
      #expect(logged(cluster, .plainText) == 1)
    }
  }

  @Test func aHalfOpenConnection() async throws {
    try await withCluster { configuration in
      configuration.timing.handshake = .milliseconds(200)
    } _: { cluster, _, port in
      // One says nothing, one begins a TLS record and stops, one hangs up.
      let silent = try await RawPeer(port: port, group: cluster.group)
      let partial = try await RawPeer(port: port, group: cluster.group)
      try await partial.send([22, 3, 1, 2, 0, 1])
      try await silent.closed()
      try await partial.closed()
      try await eventually("both counted") { refusals(cluster, .halfOpen) == 2 }
      let gone = try await RawPeer(port: port, group: cluster.group)
      try await gone.close()
      try await eventually("all counted") { refusals(cluster, .halfOpen) == 3 }
      #expect(logged(cluster, .halfOpen) == 1)
    }
  }

  /// Sends bytes that look like TLS without an end.
  @Test func aFloodBeforeTheHandshake() async throws {
    try await withCluster { cluster, _, port in
      let peer = try await RawPeer(port: port, group: cluster.group)
      // Records of a handshake message that never ends: TLS gives up by itself or the gate does.
      let record: [UInt8] = [22, 3, 1, 64, 0] + [UInt8](repeating: 1, count: 16_384)
      do {
        for _ in 0..<64 { try await peer.send(record) }
      } catch {}
      try await peer.closed()
      try await eventually("counted") {
        refusals(cluster, .malformed) + refusals(cluster, .tlsFailure) == 1
      }
    }
  }

  @Test func aServerWhoseCertificateIsForAnotherHost() async throws {
    let cluster = try Cluster()
    let server = try cluster.server(
      security: .tls(cluster.credentials(cluster.contents("other", hosts: ["10.1.1.1"])))
    )
    let port = try await server.listen()
    let task = Task { try await server.run() }
    let sink = FakeSink()
    let client = try cluster.client(port: port, sink: sink)
    try await following(client) {
      try await eventually("refused") { client.status.failure?.code == .refused(.wrongName) }
    }
    // The name that the configuration expects is as good as the host that was dialled.
    let expecting = try cluster.client(port: port, sink: sink) { $0.expectedName = "other" }
    try await following(expecting) {
      // It calls itself node1, which is not in its certificate either.
      try await eventually("refused") {
        expecting.status.failure?.message.contains("calls itself node1") == true
      }
    }
    task.cancel()
    try await task.value
    #expect(sink.state.withLock { $0.log.entries.isEmpty })
    try await cluster.shutDown()
  }

  @Test(arguments: [RefusalReason.otherAuthority, .expiredCertificate])
  func aServerThatTheReplicaMustNotTrust(reason: RefusalReason) async throws {
    let cluster = try Cluster()
    let contents =
      reason == .expiredCertificate
      ? try cluster.contents("node1", from: Date() - 7_200, until: Date() - 3_600)
      : try cluster.contents(
        "node1",
        by: CertificateAuthority(named: "test authority", now: Date())
      )
    let server = try cluster.server(security: .tls(cluster.credentials(contents)))
    let port = try await server.listen()
    let task = Task { try await server.run() }
    let client = try cluster.client(port: port, sink: FakeSink())
    try await following(client) {
      try await eventually("refused") { client.status.failure?.code == .refused(reason) }
    }
    task.cancel()
    try await task.value
    try await cluster.shutDown()
  }

  @Test func tooManyConnections() async throws {
    try await withCluster { configuration in
      configuration.maxConnections = 2
    } _: { cluster, _, port in
      let first = try await RawPeer(port: port, group: cluster.group)
      let second = try await RawPeer(port: port, group: cluster.group)
      try await eventually("two") { cluster.metrics.current.connectionsAccepted == 2 }
      let third = try await RawPeer(port: port, group: cluster.group)
      try await third.closed()
      #expect(refusals(cluster, .tooManyConnections) == 1)
      try await first.close()
      try await eventually("room again") { refusals(cluster, .halfOpen) == 1 }
      #expect(second.isOpen)
      let fourth = try await RawPeer(port: port, group: cluster.group)
      try await eventually("accepted") { cluster.metrics.current.connectionsAccepted == 3 }
      #expect(fourth.isOpen)
    }
  }

  // MARK: Frames, in plain text on loopback so that they arrive as they are

  private func hello(_ name: String = "node2") -> [UInt8] {
    let hello = Hello(
      cluster: Samples.cluster,
      name: name,
      wantsReset: false,
      log: LogSummary(first: LogIndex(1), last: .zero, terms: [])
    )
    return Samples.bytes(of: Frame(term: .zero, message: .hello(hello)))
  }

  @Test func damagedHellosAreRefused() async throws {
    try await withCluster(security: .insecure) { cluster, server, port in
      let good = hello()
      var random = SeededGenerator(seed: 11)
      for round in 1...40 {
        var bytes = good
        // The length is left alone: a longer one only makes the server wait.
        let bit = Int.random(in: 32..<(bytes.count * 8), using: &random)
        bytes[bit / 8] ^= 1 << UInt8(bit % 8)
        let peer = try await RawPeer(port: port, group: cluster.group)
        try await peer.send(bytes)
        try await peer.closed()
        #expect(refusals(cluster, .malformed) == round)
      }
      #expect(logged(cluster, .malformed) == 1)
      #expect(server.peers().isEmpty)
    }
  }

  @Test func aTruncatedHelloIsAHalfOpenConnection() async throws {
    try await withCluster(security: .insecure) { cluster, server, port in
      let peer = try await RawPeer(port: port, group: cluster.group)
      try await peer.send(Array(hello().dropLast()))
      try await peer.close()
      try await eventually("counted") { refusals(cluster, .halfOpen) == 1 }
      #expect(server.peers().isEmpty)
    }
  }

  @Test func aHugeLengthBeforeAdmissionIsRefusedAtOnce() async throws {
    try await withCluster(security: .insecure) { cluster, _, port in
      let peer = try await RawPeer(port: port, group: cluster.group)
      try await peer.send([0, 2, 0, 0])
      try await peer.closed()
      #expect(refusals(cluster, .malformed) == 1)
    }
  }

  @Test func aDamagedFrameEndsASessionWithAWord() async throws {
    try await withCluster(security: .insecure) { cluster, server, port in
      cluster.source.commit("a.db", page: 1, fill: 1)
      let peer = try await RawPeer(port: port, group: cluster.group)
      try await peer.send(hello())
      try await eventually("entries") {
        (try? peer.frames().contains { $0.message.kind == .entries }) == true
      }
      var bytes = Samples.bytes(
        of: Frame(
          term: Term(1),
          message: .acknowledgement(
            Acknowledgement(
              progress: ReplicaProgress(
                received: LogIndex(1),
                durable: LogIndex(1),
                applied: LogIndex(1),
                repairing: 0
              ),
              snapshotBytes: 0
            )
          )
        )
      )
      bytes[40] ^= 4
      try await peer.send(bytes)
      try await peer.closed()
      #expect(try peer.frames().last?.message.kind == .goodbye)
      #expect(server.peers().first?.isConnected == false)
      #expect(server.peers().first?.progress.applied == .zero)
    }
  }
}
