import GRDB

/// The table in which every server says that it is there. All run within a transaction of the caller.
enum ReplicaRegistry {
  /// A server that was not heard of for longer does not count.
  static let freshSeconds: Double = 30
  /// The row of one that was not heard of for longer is removed.
  static let pruneSeconds: Double = 60

  struct Overview: Sendable, Equatable {
    var replicas = 0
    var masterURL: String?
    /// Seconds since the epoch.
    var newest: Double?
    var nodes = 0
    var clusters = 0
  }

  /// Says that a server is there. The row of an earlier run of it, which had another id but the same address, becomes
  /// this one's.
  static func heartbeat(
    _ database: Database,
    id: String,
    address: String,
    isMaster: Bool,
    now: Double
  ) throws {
    let time = Timestamp.text(now)
    let role = isMaster ? "master" : "replica"
    try database.cachedStatement(
      sql: "DELETE FROM replicas WHERE address = ? AND id <> ?"
    ).execute(arguments: [address, id])
    try database.cachedStatement(
      sql: """
        INSERT INTO replicas (id, address, role, created_at, last_seen_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET address = excluded.address, role = excluded.role,
          last_seen_at = excluded.last_seen_at
        """
    ).execute(arguments: [id, address, role, time, time])
    // Whoever writes as the master knows that no other one is.
    if isMaster {
      try database.cachedStatement(
        sql: "UPDATE replicas SET role = 'replica' WHERE role = 'master' AND id <> ?"
      ).execute(arguments: [id])
      try database.cachedStatement(sql: "DELETE FROM replicas WHERE last_seen_at < ?")
        .execute(arguments: [Timestamp.text(now - pruneSeconds)])
    }
  }

  static func remove(_ database: Database, id: String) throws {
    try database.execute(sql: "DELETE FROM replicas WHERE id = ?", arguments: [id])
  }

  static func overview(_ database: Database, now: Double) throws -> Overview {
    var overview = Overview()
    let since = Timestamp.text(now - freshSeconds)
    overview.replicas =
      try Int.fetchOne(
        database,
        sql: "SELECT count(*) FROM replicas WHERE role = 'replica' AND last_seen_at >= ?",
        arguments: [since]
      ) ?? 0
    overview.masterURL = try masterURL(database, now: now)
    overview.newest = try String.fetchOne(database, sql: "SELECT max(last_seen_at) FROM replicas")
      .flatMap(Timestamp.seconds)
    overview.nodes = try Int.fetchOne(database, sql: "SELECT count(*) FROM nodes") ?? 0
    overview.clusters = try Int.fetchOne(database, sql: "SELECT count(*) FROM clusters") ?? 0
    return overview
  }

  static func masterURL(_ database: Database, now: Double) throws -> String? {
    try String.fetchOne(
      database,
      sql: """
        SELECT address FROM replicas WHERE role = 'master' AND last_seen_at >= ?
        ORDER BY last_seen_at DESC LIMIT 1
        """,
      arguments: [Timestamp.text(now - freshSeconds)]
    )
  }
}
