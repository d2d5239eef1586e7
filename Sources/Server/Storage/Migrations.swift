import GRDB

/// The tables, and how older ones become these.
///
/// The first migration takes over databases of the server that came before this one: what is there stays, what
/// that one's code used without having it is added. Each migration is a transaction of its own and begins
/// IMMEDIATE, so several servers that start at once make it once; the later ones find it made or fail and try again.
enum Migrations {
  static var all: DatabaseMigrator {
    var migrator = DatabaseMigrator().disablingDeferredForeignKeyChecks()
    migrator.registerMigration("001 tables") { database in
      for statement in tables { try database.execute(sql: statement) }
      for (table, column, definition) in laterColumns {
        let columns = try database.columns(in: table).map(\.name)
        guard !columns.contains(column) else { continue }
        try database.execute(sql: "ALTER TABLE \(table) ADD COLUMN \(column) \(definition)")
      }
      for statement in indexes { try database.execute(sql: statement) }
    }
    return migrator
  }

  private static let tables = [
    """
    CREATE TABLE IF NOT EXISTS tenants (
      id TEXT PRIMARY KEY, name TEXT NOT NULL, created_at TEXT NOT NULL)
    """,
    """
    CREATE TABLE IF NOT EXISTS clusters (
      id TEXT PRIMARY KEY,
      tenant_id TEXT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
      name TEXT NOT NULL,
      cluster_token_hash TEXT NOT NULL,
      provide_lighthouse INTEGER NOT NULL DEFAULT 0,
      lighthouse_port INTEGER NOT NULL DEFAULT 4242,
      config_version INTEGER NOT NULL DEFAULT 1,
      pki_ca_cert TEXT, pki_ca_key TEXT, pki_crl TEXT,
      created_at TEXT NOT NULL,
      UNIQUE (tenant_id, name))
    """,
    """
    CREATE TABLE IF NOT EXISTS nodes (
      id TEXT PRIMARY KEY,
      tenant_id TEXT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
      cluster_id TEXT NOT NULL REFERENCES clusters(id) ON DELETE CASCADE,
      name TEXT NOT NULL,
      is_admin INTEGER NOT NULL DEFAULT 0,
      token_hash TEXT NOT NULL,
      mtu INTEGER NOT NULL DEFAULT 1300,
      routes TEXT,
      is_lighthouse INTEGER NOT NULL DEFAULT 0,
      lighthouse_public_ip TEXT,
      lighthouse_port INTEGER,
      is_relay INTEGER NOT NULL DEFAULT 0,
      created_at TEXT NOT NULL,
      updated_at TEXT NOT NULL DEFAULT '',
      UNIQUE (tenant_id, cluster_id, name))
    """,
    """
    CREATE TABLE IF NOT EXISTS config_bundles (
      version INTEGER NOT NULL,
      tenant_id TEXT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
      cluster_id TEXT NOT NULL REFERENCES clusters(id) ON DELETE CASCADE,
      data BLOB NOT NULL,
      created_by TEXT,
      created_at TEXT NOT NULL,
      PRIMARY KEY (tenant_id, cluster_id, version))
    """,
    """
    CREATE TABLE IF NOT EXISTS replicas (
      id TEXT PRIMARY KEY, address TEXT NOT NULL UNIQUE,
      role TEXT NOT NULL CHECK (role IN ('master', 'replica')),
      created_at TEXT NOT NULL, last_seen_at TEXT NOT NULL)
    """,
  ]

  private static let laterColumns = [
    ("nodes", "is_lighthouse", "INTEGER NOT NULL DEFAULT 0"),
    ("nodes", "lighthouse_public_ip", "TEXT"), ("nodes", "lighthouse_port", "INTEGER"),
    ("nodes", "is_relay", "INTEGER NOT NULL DEFAULT 0"),
    ("nodes", "updated_at", "TEXT NOT NULL DEFAULT ''"),
  ]

  private static let indexes = [
    "CREATE INDEX IF NOT EXISTS nodes_by_token ON nodes (token_hash)",
    "CREATE INDEX IF NOT EXISTS clusters_by_token ON clusters (cluster_token_hash)",
    "CREATE INDEX IF NOT EXISTS nodes_by_cluster ON nodes (cluster_id, created_at, id)",
  ]
}
