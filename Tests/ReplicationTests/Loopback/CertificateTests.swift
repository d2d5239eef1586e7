import Foundation
import NIOCore
import Replication
import Store
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(2))) struct CertificateTests {
  @Test func opensslVerifiesWhatIsIssued() throws {
    let directory = try TemporaryDirectory()
    let authority = try CertificateAuthority(named: "halite demo", now: Date())
    let issued = try authority.issue(
      name: "node1",
      hosts: ["db1.example.org", "127.0.0.1", "::1"],
      now: Date()
    )
    let ca = try directory.write("ca.pem", try authority.files().certificate)
    let node = try directory.write("node1.pem", issued.certificate)
    let key = try directory.write("node1-key.pem", issued.key)
    for purpose in ["sslserver", "sslclient"] {
      for check in [
        ["-verify_hostname", "node1"], ["-verify_hostname", "db1.example.org"],
        ["-verify_ip", "127.0.0.1"], ["-verify_ip", "::1"],
      ] {
        let output = try OpenSSL.run(
          ["verify", "-x509_strict", "-CAfile", ca, "-purpose", purpose] + check + [node]
        )
        #expect(output.status == 0, "\(output.text)")
      }
    }
    let other = try OpenSSL.run(["verify", "-CAfile", ca, "-verify_hostname", "node2", node])
    #expect(other.status != 0)
    #expect(try OpenSSL.run(["pkey", "-in", key, "-noout", "-check"]).status == 0)
    let text = try OpenSSL.run(["x509", "-in", node, "-noout", "-text"]).text
    #expect(text.contains("TLS Web Server Authentication, TLS Web Client Authentication"))
    #expect(text.contains("CN = node1"))
    #expect(text.contains("prime256v1"))
    #expect(try OpenSSL.run(["verify", "-x509_strict", "-CAfile", ca, ca]).status == 0)
  }

  @Test func anAuthorityIsReadBackFromItsFiles() throws {
    let directory = try TemporaryDirectory()
    let first = try CertificateAuthority(named: "halite demo", now: Date())
    let files = try first.files()
    let again = try CertificateAuthority(certificatePEM: files.certificate, keyPEM: files.key)
    let issued = try again.issue(name: "n", hosts: [], now: Date())
    let ca = try directory.write("ca.pem", files.certificate)
    let node = try directory.write("n.pem", issued.certificate)
    #expect(try OpenSSL.run(["verify", "-CAfile", ca, node]).status == 0)
    let stranger = try CertificateAuthority(named: "halite demo", now: Date()).files()
    #expect(throws: ReplicationError.self) {
      try CertificateAuthority(certificatePEM: files.certificate, keyPEM: stranger.key)
    }
    #expect(throws: ReplicationError.self) {
      try CertificateAuthority(certificatePEM: "nonsense", keyPEM: files.key)
    }
  }

  @Test(arguments: ["", "a b", "ä", "a/b", String(repeating: "n", count: 65)])
  func impossibleNamesAreRefused(name: String) throws {
    let authority = try CertificateAuthority(named: "halite demo", now: Date())
    #expect(throws: ReplicationError.self) {
      try authority.issue(name: name, hosts: [], now: Date())
    }
    #expect(throws: ReplicationError.self) {
      try authority.issue(name: "node", hosts: [name + " "], now: Date())
    }
  }

  @Test func inspectionTellsWhatADoctorAsks() throws {
    let now = Date(timeIntervalSince1970: 1_800_000_000)
    let authority = try CertificateAuthority(named: "halite demo", now: now)
    let files = try authority.files()
    let issued = try authority.issue(
      name: "node1",
      hosts: ["10.0.0.7", "fd00::7", "db1"],
      now: now,
      validityDays: 10
    )
    let inspection = try CertificateInspection(
      pem: issued.certificate,
      authorityPEM: files.certificate,
      keyPEM: issued.key
    )
    #expect(inspection.identity.names == ["node1", "db1"])
    #expect(
      inspection.identity.addresses
        == Set([IPAddress("10.0.0.7"), IPAddress("fd00::7")].compactMap { $0 })
    )
    #expect(inspection.identity.covers(host: "DB1"))
    #expect(inspection.identity.covers(host: "fd00:0::7"))
    #expect(!inspection.identity.covers(host: "10.0.0.8"))
    #expect(inspection.notAfter == now + 864_000)
    #expect(inspection.isIssuedByAuthority == true && inspection.hasMatchingKey == true)
    #expect(!inspection.isAuthority)
    #expect(try CertificateInspection(pem: files.certificate).isAuthority)
    let other = try CertificateAuthority(named: "halite demo", now: now).files()
    let strange = try CertificateInspection(
      pem: issued.certificate,
      authorityPEM: other.certificate,
      keyPEM: other.key
    )
    #expect(strange.isIssuedByAuthority == false && strange.hasMatchingKey == false)
    #expect(throws: ReplicationError.self) { try CertificateInspection(pem: "") }
    #expect(throws: ReplicationError.self) {
      try CertificateInspection(pem: String(issued.certificate.dropLast(60)))
    }
  }

  /// OpenSSL as the client of our server, and as a peer without what it takes.
  @Test func opensslShakesHandsWithTheServer() async throws {
    let directory = try TemporaryDirectory()
    try await withCluster { cluster, _, port in
      let files = try directory.write("node2", try cluster.contents("node2"))
      let base = [
        "s_client", "-connect", "127.0.0.1:\(port)", "-CAfile", files.authority,
        "-verify_return_error",
        "-verify_hostname", "node1", "-brief",
      ]
      let own = ["-cert", files.certificate, "-key", files.key]
      // The end of its input makes it close right after the handshake.
      let good = try await detached { try OpenSSL.runUntilHandshake(base + own + ["-tls1_3"]) }
      #expect(good.contains("CONNECTION ESTABLISHED"), "\(good)")
      #expect(good.contains("Protocol version: TLSv1.3"), "\(good)")
      #expect(good.contains("Verification: OK"), "\(good)")
      try await eventually("it said nothing") {
        cluster.metrics.current.refusals == [.halfOpen: 1]
      }
      let old = try await detached { try OpenSSL.run(base + own + ["-tls1_2"]) }
      #expect(old.status != 0)
      #expect(!old.text.contains("CONNECTION ESTABLISHED"), "\(old.text)")
      let anonymous = try await detached { try OpenSSL.runUntilClosed(base) }
      #expect(anonymous.contains("certificate required"), "\(anonymous)")
      try await eventually("counted") { cluster.metrics.current.refusals[.noCertificate] == 1 }
    }
  }

  /// OpenSSL as a server: our client takes one of the cluster for what it is, and no other.
  @Test func theClientJudgesAnOpensslServer() async throws {
    let directory = try TemporaryDirectory()
    let cluster = try Cluster()
    let stranger = try CertificateAuthority(named: "test authority", now: Date())
    for (contents, isGood) in [
      (try cluster.contents("node1"), true), (try cluster.contents("node1", by: stranger), false),
    ] {
      let files = try directory.write("server", contents)
      let authority = try directory.write("ca.pem", try cluster.authority.files().certificate)
      let server = try OpenSSLServer(files, clientAuthority: authority)
      let client = try cluster.client(port: server.port, sink: FakeSink())
      try await following(client) {
        if isGood {
          // The handshake is good and the hello arrives; openssl answers nothing.
          try await eventually("the hello") { server.received(Array("Hali".utf8)) }
        } else {
          try await eventually("refused") {
            client.status.failure?.code == .refused(.otherAuthority)
          }
        }
      }
      server.stop()
    }
    try await cluster.shutDown()
  }

  @Test func changedFilesAreUsedForNewConnections() async throws {
    let directory = try TemporaryDirectory()
    let cluster = try Cluster()
    let stranger = try CertificateAuthority(named: "another", now: Date())
    let files = try directory.write("node1", try cluster.contents("node1", by: stranger))
    let credentials = try TLSCredentials(files: files, logger: cluster.logger)
    let server = try cluster.server(security: .tls(credentials))
    let port = try await server.listen()
    let ticks = Mutex(0)
    var clock = ReplicationClock.system
    // Time passes as fast as it is waited for.
    clock.sleep = { _ in
      ticks.withLock { $0 += 1 }
      try await Task.sleep(for: .milliseconds(1))
    }
    let watcher = TLSWatcher(
      credentials,
      interval: .seconds(10),
      clock: clock,
      pool: cluster.pool
    )
    let tasks = [Task { try await server.run() }, Task { try await watcher.run() }]
    let sink = FakeSink()
    cluster.source.commit("a.db", page: 1, fill: 1)
    let client = try cluster.client(port: port, sink: sink)
    try await following(client) {
      try await eventually("refused") {
        client.status.failure?.code == .refused(.otherAuthority)
      }
      // Half of a change: the certificate is new, the key is not.
      let good = try cluster.contents("node1")
      try directory.write("node1-ca.pem", good.authority)
      try directory.write("node1.pem", good.certificate)
      try await eventually("it is noticed and not used") {
        cluster.log.all("Changed certificate files cannot be used; the old ones stay in force")
          .isEmpty == false
      }
      #expect(!client.status.isConnected)
      try directory.write("node1-key.pem", good.key)
      try await eventually("connected") { isConverged(cluster.source, sink) }
    }
    #expect(cluster.log.all("Certificates were reloaded").count == 1)
    for task in tasks {
      task.cancel()
      try await task.value
    }
    #expect(ticks.withLock { $0 } > 0)
    try await cluster.shutDown()
  }

  @Test func aMissingFileIsNamed() throws {
    let files = TLSFiles(
      authority: "/nonexistent/ca.pem",
      certificate: "/nonexistent/n.pem",
      key: "/nonexistent/n-key.pem"
    )
    do {
      _ = try files.read()
      Issue.record("a file that does not exist was read")
    } catch {
      #expect(error.message.contains("/nonexistent/ca.pem"))
    }
  }
}
