import Synchronization

@testable import Node

/// A node without databases on disk: what it holds is in memory.
final class FakeNode: NodeControlling {
  struct Refusal: Error, CustomStringConvertible {
    let description: String
  }

  let events = EventHub()
  private let databases = Mutex<[String: [UInt8]]>([:])
  private let current = Mutex<NodeStatus>(FakeNode.example)
  private let currentReadiness = Mutex<Readiness>(.ready)

  static let example = NodeStatus(
    cluster: "halite-test",
    node: .init(
      name: "node1",
      role: .primary,
      term: 3,
      ready: true,
      commitIndex: 12,
      appliedIndex: 11,
      lagMilliseconds: 0,
      version: "1.2.3",
      uptimeSeconds: 5
    ),
    primary: .init(name: "node1"),
    databases: [
      .init(
        name: "app.db",
        txid: "000000000000000c",
        checksum: "8000000000000001",
        pageSize: 4096,
        pages: 7,
        journalMode: "wal"
      )
    ],
    peers: [
      .init(name: "node2", role: .replica, connected: true, lagMilliseconds: 4, matchIndex: 11),
      .init(name: "node3", role: .replica, connected: false, lagMilliseconds: nil, matchIndex: 0),
    ]
  )

  func status() -> NodeStatus { current.withLock { $0 } }
  func readiness() -> Readiness { currentReadiness.withLock { $0 } }

  func set(_ status: NodeStatus) { current.withLock { $0 = status } }
  func set(_ readiness: Readiness) { currentReadiness.withLock { $0 = readiness } }
  func contents(_ name: String) -> [UInt8]? { databases.withLock { $0[name] } }
  func put(_ name: String, _ bytes: [UInt8]) { databases.withLock { $0[name] = bytes } }

  func openExport(of database: String) throws -> any DatabaseExport {
    guard let bytes = contents(database) else {
      throw Refusal(description: "there is no database \(database)")
    }
    return Export(bytes)
  }

  func promote() async throws -> String { throw Refusal(description: "no election here") }
  func demote(to successor: String?) async throws -> String {
    "handed over to \(successor ?? "anybody")"
  }

  func openImport(of database: String) throws -> any DatabaseImport {
    if database.hasPrefix("refused") { throw Refusal(description: "this node is a replica") }
    return Import { bytes in self.put(database, bytes) }
  }

  private final class Export: DatabaseExport {
    let size: Int64
    private let rest: Mutex<ArraySlice<UInt8>>

    init(_ bytes: [UInt8]) {
      size = Int64(bytes.count)
      rest = Mutex(bytes[...])
    }

    func next(maxBytes: Int) throws -> [UInt8]? {
      try rest.withLock { rest in
        guard !rest.isEmpty else { return nil }
        // The last byte of a database that cannot be read to its end.
        if rest.first == 0xee { throw Refusal(description: "page 3 cannot be read") }
        let chunk = rest.prefix(maxBytes)
        rest = rest.dropFirst(chunk.count)
        return Array(chunk)
      }
    }

    func close() {}
  }

  private final class Import: DatabaseImport {
    private let bytes = Mutex<[UInt8]>([])
    private let done: @Sendable ([UInt8]) -> Void

    init(_ done: @escaping @Sendable ([UInt8]) -> Void) { self.done = done }

    func write(_ more: [UInt8]) throws {
      try bytes.withLock { bytes in
        bytes += more
        if bytes.first == 0xee { throw Refusal(description: "not a database") }
      }
    }

    func finish() throws -> String {
      done(bytes.withLock { $0 })
      return "0000000000000001/8000000000000000"
    }

    func cancel() {}
  }
}
