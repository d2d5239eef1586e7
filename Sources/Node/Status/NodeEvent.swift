/// What `/events` tells, one JSON object a line, with the names of LiteFS.
///
/// `{"type":"init","data":{"isPrimary":true,"hostname":"node1"}}` comes first; then
/// `{"type":"tx","db":"app.db","data":{"txID":"…","postApplyChecksum":"…","pageSize":4096,
/// "commit":12,"timestamp":"2026-01-01T00:00:00.000Z"}}` for each transaction this node holds, and
/// `{"type":"primaryChange","data":{"isPrimary":false,"hostname":"node2"}}`.
package enum NodeEvent: Sendable, Equatable {
  /// Where the primary is: this node or the one of that name ("" while there is none).
  case initial(isPrimary: Bool, hostname: String)
  case primaryChange(isPrimary: Bool, hostname: String)
  case transaction(Transaction)

  package struct Transaction: Sendable, Equatable {
    package var database: String
    package var txid: UInt64
    package var checksum: UInt64
    package var pageSize: UInt32
    /// The number of pages after the transaction.
    package var pages: UInt32
    /// Milliseconds since the epoch.
    package var timestamp: Int64

    package init(
      database: String,
      txid: UInt64,
      checksum: UInt64,
      pageSize: UInt32,
      pages: UInt32,
      timestamp: Int64
    ) {
      self.database = database
      self.txid = txid
      self.checksum = checksum
      self.pageSize = pageSize
      self.pages = pages
      self.timestamp = timestamp
    }
  }
}

extension NodeEvent: Encodable {
  private enum Key: String, CodingKey { case type, db, data }
  private enum RoleKey: String, CodingKey { case isPrimary, hostname }
  private enum TransactionKey: String, CodingKey {
    case txID, postApplyChecksum, pageSize, commit, timestamp
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Key.self)
    switch self {
    case .initial(let isPrimary, let hostname), .primaryChange(let isPrimary, let hostname):
      var type = "primaryChange"
      if case .initial = self { type = "init" }
      try container.encode(type, forKey: .type)
      var data = container.nestedContainer(keyedBy: RoleKey.self, forKey: .data)
      try data.encode(isPrimary, forKey: .isPrimary)
      try data.encode(hostname, forKey: .hostname)
    case .transaction(let transaction):
      try container.encode("tx", forKey: .type)
      try container.encode(transaction.database, forKey: .db)
      var data = container.nestedContainer(keyedBy: TransactionKey.self, forKey: .data)
      try data.encode(Hexadecimal.text(transaction.txid), forKey: .txID)
      try data.encode(Hexadecimal.text(transaction.checksum), forKey: .postApplyChecksum)
      try data.encode(transaction.pageSize, forKey: .pageSize)
      try data.encode(transaction.pages, forKey: .commit)
      try data.encode(Timestamps.text(milliseconds: transaction.timestamp), forKey: .timestamp)
    }
  }
}

enum Hexadecimal {
  /// 16 lower-case digits, as positions are written everywhere.
  static func text(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
  }
}
