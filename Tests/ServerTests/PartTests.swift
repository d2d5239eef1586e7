import Foundation
import GRDB
import Testing

@testable import Server

/// The parts of a server that need no connection.
@Suite(.timeLimit(.minutes(1))) struct PartTests {
  @Test func hashesAreThoseOfTheServersBefore() {
    let hasher = TokenHasher(secret: LiveServer.secret)
    #expect(
      hasher.hash("a token") == "c8b83ce013003877f02f6c5992ef9a8a134689d4b9502a8c25e204f70a36dbc6"
    )
    #expect(TokenHasher.isSame("ab", "ab"))
    #expect(!TokenHasher.isSame("ab", "ac") && !TokenHasher.isSame("ab", "abc"))
    #expect(Set((0..<100).map { _ in Token.make() }).count == 100)
  }

  @Test(arguments: [
    ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.1", false),
    ("10.1.2.3/32", "10.1.2.3", true), ("0.0.0.0/0", "255.1.1.1", true),
    ("fd00::/8", "fdff::1", true), ("fd00::/8", "fe00::1", false), ("fd00::/8", "10.0.0.1", false),
    ("10.0.0.0/12", "10.15.1.1", true), ("10.0.0.0/12", "10.16.1.1", false),
    ("10.0.0.0/8", "::ffff:10.0.0.1", true),
  ])
  func networksHoldAddresses(network: String, address: String, holds: Bool) throws {
    #expect(try #require(CIDR(network)).contains(address) == holds)
  }

  @Test(arguments: [
    "", "/", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/+8", "x/8",
    "10.0.0.0/8/8",
  ])
  func otherTextIsNoNetwork(text: String) {
    #expect(CIDR(text) == nil)
  }

  @Test func bucketsFillAgain() {
    let limit = RateLimit(rate: 2, burst: 3)
    var bucket = TokenBucket(limit, now: 100)
    // A clock that goes back, as for the last one, gives nothing away.
    let waits = [100, 100, 100, 100, 100.5, 100.5, 99].map { bucket.take(limit, now: $0) }
    #expect(waits == [nil, nil, nil, 0.5, nil, 0.5, 0.5])
    let isFull = [101, 102].map { bucket.isFull(limit, now: $0) }
    #expect(isFull == [false, true])
  }

  @Test func timesAreTextsThatCompare() {
    #expect(Timestamp.text(1_769_847_300.25) == "2026-01-31 08:15:00.250")
    #expect(Timestamp.json("2026-01-31 08:15:00.250") == "2026-01-31T08:15:00.250Z")
    #expect(Timestamp.seconds("2026-01-31 08:15:00.250") == 1_769_847_300.25)
    let foreign = "2026-01-31 08:15:00.25 +0000 UTC m=+0.1"
    #expect(Timestamp.json(foreign) == foreign && Timestamp.seconds(foreign) == nil)
  }

  @Test func onlyAWriteMakesAMaster() {
    var standing = Standing(.auto)
    standing.saw(.missing)
    #expect(standing.state == .starting)
    standing.committedHeartbeat(.missing)
    #expect(standing.state == .master)
    standing.failedToWrite()
    #expect(standing.state == .replica && standing.isInDoubt)
    standing.saw(.missing)
    #expect(standing.state == .replica && standing.isInDoubt)
    // On a replica it is the master that may be missing: its writers wait for the next one.
    standing.saw(.names("node3"))
    #expect(!standing.isInDoubt)
    standing.failedToWrite()
    #expect(!standing.isInDoubt)
    // A forwarded write, committed while the file went away or came, proves nothing.
    standing.saw(.names("node2"))
    standing.committedHeartbeat(.missing)
    #expect(standing.state == .replica)
    standing.committedHeartbeat(.names("node2"))
    #expect(standing.state == .replica && standing.primary == "node2")
    standing.saw(.missing)
    standing.committedHeartbeat(.missing)
    #expect(standing.state == .master)
    standing.saw(.unknown)
    #expect(standing.state == .replica)
  }

  @Test func aFixedModeStays() {
    for (mode, state) in [
      (ServerConfiguration.HAMode.master, Standing.State.master), (.replica, .replica),
    ] {
      var standing = Standing(mode)
      standing.saw(.names("node2"))
      standing.failedToWrite()
      standing.saw(.missing)
      standing.committedHeartbeat(.missing)
      #expect(standing.state == state && !standing.isInDoubt)
    }
  }

  @Test func flagsComeBeforeTheEnvironmentAndThatBeforeTheFile() throws {
    let secret = ["NEBULAGC_HMAC_SECRET": LiveServer.secret]
    let file = try EnvironmentFile.parse(
      "# x\nNEBULAGC_LISTEN_ADDR=:1\nNEBULAGC_DB_PATH = \"/a b\"\nNEBULAGC_LOG_FORMAT=json\n",
      "f"
    )
    let settings = try ServerSettings(
      flags: ["NEBULAGC_LISTEN_ADDR": ":3"],
      environment: secret.merging(["NEBULAGC_LISTEN_ADDR": ":2", "NEBULAGC_LOG_FORMAT": ""]) { $1 },
      file: file
    ).configuration()
    #expect(settings.listen.port == 3)
    #expect(settings.database == "/a b")
    #expect(settings.logFormat == .json)
    #expect(settings.writeGuard == .off && settings.haMode == .auto)
    let old = try ServerSettings(
      flags: [:],
      environment: secret.merging(["NEBULAGC_MODE": "replica"]) { $1 },
      file: [:]
    ).configuration()
    #expect(old.haMode == .replica && old.writeGuard == .redirect)
  }

  @Test func allThatIsWrongIsSaidAtOnce() {
    let environment = [
      "NEBULAGC_HMAC_SECRET": "short secret", "NEBULAGC_LISTEN_ADDR": "nowhere",
      "NEBULAGC_HA_MODE": "leader", "NEBULAGC_PUBLIC_URL": "here", "NEBULAGC_INSTANCE_ID": "7",
      "NEBULAGC_HEARTBEAT_SECONDS": "0", "NEBULAGC_RATELIMIT_IP": "5",
      "NEBULAGC_TRUSTED_PROXIES": "x",
    ]
    let error = #expect(throws: ConfigurationError.self) {
      try ServerSettings(flags: [:], environment: environment, file: [:]).configuration()
    }
    #expect(error?.problems.count == environment.count)
    for name in environment.keys { #expect(error?.description.contains(name) == true, "\(name)") }
    #expect(error?.description.contains("short secret") == false)
    #expect(throws: ConfigurationError.self) {
      try EnvironmentFile.parse("NEBULAGC_DB_PTH=x", "f")
    }
  }

  @Test func aDatabaseOfTheServerBeforeIsTakenOver() throws {
    let path = NSTemporaryDirectory() + "/nebulagc-" + UUID().uuidString + ".db"
    defer {
      for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + end) }
    }
    do {
      let old = try DatabaseQueue(path: path)
      try old.write { database in
        try database.execute(
          sql: """
            CREATE TABLE tenants (id TEXT PRIMARY KEY, name TEXT, created_at DATETIME);
            CREATE TABLE clusters (id TEXT PRIMARY KEY, tenant_id TEXT, name TEXT, cluster_token_hash TEXT,
              provide_lighthouse INTEGER, lighthouse_port INTEGER, config_version INTEGER DEFAULT 1,
              pki_ca_cert TEXT, pki_ca_key TEXT, pki_crl TEXT, created_at DATETIME);
            CREATE TABLE nodes (id TEXT PRIMARY KEY, tenant_id TEXT, cluster_id TEXT, name TEXT,
              is_admin INTEGER, token_hash TEXT, mtu INTEGER, routes TEXT, created_at DATETIME);
            INSERT INTO nodes VALUES ('n', 't', 'c', 'old', 1, 'h', 1300, '["10.0.0.0/8"]', '2025');
            """
        )
      }
      try old.close()
    }
    let storage = try StorageOpener(path: path, logger: .quiet).open()
    try storage.close()
    // A second time there is nothing to do.
    let pool = try DatabasePool(path: path)
    #expect(try pool.read { try Migrations.all.hasCompletedMigrations($0) })
    let found = try pool.read { try NodeQueries.byToken($0, hash: "h") }
    #expect(found?.0.name == "old" && found?.0.routes == ["10.0.0.0/8"])
    #expect(found?.0.isLighthouse == false && found?.0.updatedAt == "2025")
    try pool.close()
  }
}
