import Foundation
import Logging
import NIOCore
import NIOPosix
import Replication
import Store
import Synchronization
import Testing

/// Certificates, threads and names for a server and its clients on this machine.
final class Cluster: Sendable {
  let authority: CertificateAuthority
  let source = FakeSource()
  let metrics = ReplicationMetrics()
  let log = LogRecorder()
  let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
  let pool = NIOThreadPool(numberOfThreads: 6)

  init() throws {
    authority = try CertificateAuthority(named: "test authority", now: Date())
    pool.start()
  }

  func shutDown() async throws {
    try await group.shutdownGracefully()
    try await pool.shutdownGracefully()
  }

  var logger: Logger {
    let log = log
    return Logger(label: "test") { _ in log.handler }
  }

  /// The files of a node.
  func contents(
    _ name: String,
    hosts: [String] = ["127.0.0.1"],
    by other: CertificateAuthority? = nil,
    from: Date = Date() - 60,
    until: Date = Date() + 3_600
  ) throws -> TLSFileContents {
    let issuer = other ?? authority
    let issued = try issuer.issue(name: name, hosts: hosts, from: from, until: until)
    return TLSFileContents(
      authority: try issuer.files().certificate,
      certificate: issued.certificate,
      key: issued.key
    )
  }

  func credentials(_ contents: TLSFileContents) throws -> TLSCredentials {
    try TLSCredentials(logger: logger) { () throws(ReplicationError) in contents }
  }

  func server(
    security: TransportSecurity? = nil,
    host: String = "127.0.0.1",
    port: Int = 0,
    _ change: (inout ReplicationServer.Configuration) -> Void = { _ in }
  ) throws -> ReplicationServer {
    var configuration = ReplicationServer.Configuration(
      address: NetworkAddress(host: host, port: port),
      security: try security ?? .tls(credentials(contents("node1"))),
      nodeName: "node1",
      cluster: Samples.cluster
    )
    configuration.timing = Self.timing
    change(&configuration)
    let source = source
    return ReplicationServer(
      configuration: configuration,
      source: source,
      term: { source.state.withLock { $0.term } },
      metrics: metrics,
      logger: logger,
      group: group,
      pool: pool
    )
  }

  func client(
    port: Int,
    sink: FakeSink,
    name: String = "node2",
    host: String = "127.0.0.1",
    record: FakeRecord = FakeRecord(),
    security: TransportSecurity? = nil,
    _ change: (inout ReplicationClient.Configuration) -> Void = { _ in }
  ) throws -> ReplicationClient {
    var configuration = ReplicationClient.Configuration(
      primary: NetworkAddress(host: host, port: port),
      security: try security ?? .tls(credentials(contents(name))),
      nodeName: name
    )
    configuration.timing = Self.timing
    configuration.backoff = Backoff(shortest: .milliseconds(10), longest: .milliseconds(50))
    change(&configuration)
    return ReplicationClient(
      configuration: configuration,
      sink: sink,
      record: record,
      metrics: metrics,
      logger: logger,
      group: group
    )
  }

  /// Room for a machine that is busy with other tests; the silence is tested without I/O.
  static let timing = SessionTiming(
    heartbeat: .milliseconds(250),
    silence: .seconds(20),
    handshake: .seconds(20)
  )
}

/// Runs a server, and what is given, until the latter ends.
func withCluster(
  _ change: (inout ReplicationServer.Configuration) -> Void = { _ in },
  security: TransportSecurity? = nil,
  _ body: (Cluster, ReplicationServer, Int) async throws -> Void
) async throws {
  let cluster = try Cluster()
  let server = try cluster.server(security: security, change)
  let port = try await server.listen()
  let task = Task { try await server.run() }
  let result: Result<Void, any Error>
  do {
    result = .success(try await body(cluster, server, port))
  } catch {
    result = .failure(error)
  }
  task.cancel()
  try await task.value
  try await cluster.shutDown()
  try result.get()
}

/// Runs a client while the body does.
func following(
  _ client: ReplicationClient,
  _ body: () async throws -> Void
) async throws {
  let task = Task { try await client.run() }
  let result: Result<Void, any Error>
  do {
    result = .success(try await body())
  } catch {
    result = .failure(error)
  }
  task.cancel()
  try await task.value
  try result.get()
}

/// Waits for a condition, at most 30 seconds.
func eventually(
  _ what: String,
  sourceLocation: SourceLocation = #_sourceLocation,
  _ condition: () -> Bool
) async throws {
  let deadline = ContinuousClock.now + .seconds(30)
  while !condition() {
    guard ContinuousClock.now < deadline else {
      Issue.record("never happened: \(what)", sourceLocation: sourceLocation)
      throw CancellationError()
    }
    try await Task.sleep(for: .milliseconds(2))
  }
}

/// What a node remembers, in memory.
final class FakeRecord: ClusterRecord {
  let state = Mutex<(cluster: ClusterID?, term: Term)>((nil, .zero))

  init(cluster: ClusterID? = nil, term: Term = .zero) {
    state.withLock { $0 = (cluster, term) }
  }

  var cluster: ClusterID? { state.withLock { $0.cluster } }
  var term: Term { state.withLock { $0.term } }
  func adopt(cluster: ClusterID, term: Term, isConfirmed: Bool) throws(StoreError) {
    state.withLock { $0 = (cluster, term) }
  }
}

/// Keeps what is logged.
final class LogRecorder: Sendable {
  struct Line: Sendable {
    var level: Logger.Level
    var message: String
    var metadata: [String: String]
  }
  private let lines = Mutex<[Line]>([])

  func record(_ line: Line) { lines.withLock { $0.append(line) } }
  func all(_ message: String) -> [Line] { lines.withLock { $0.filter { $0.message == message } } }
  var handler: any LogHandler { Handler(recorder: self) }

  private struct Handler: LogHandler {
    let recorder: LogRecorder
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.debug
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      recorder.record(
        Line(
          level: event.level,
          message: "\(event.message)",
          metadata: (event.metadata ?? [:]).mapValues { "\($0)" }
        )
      )
    }
  }
}

/// The databases and logs of both sides are equal and nothing waits for repair.
func isConverged(_ source: FakeSource, _ sink: FakeSink) -> Bool {
  let primary = source.state.withLock { ($0.databases, $0.log.last) }
  return sink.state.withLock { state in
    state.databases == primary.0 && state.log.last == primary.1 && state.repairs.isEmpty
  }
}
