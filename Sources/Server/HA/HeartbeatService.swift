import GRDB
import Logging
import ServiceLifecycle

/// Looks at `.primary`, says in the registry that this server is there, and removes that when it stops.
struct HeartbeatService: Service {
  /// How often `.primary` is looked at.
  static let lookInterval = Duration.milliseconds(200)
  /// How soon after a heartbeat that failed the next one is tried, while this server might be the master.
  static let retryInterval = Duration.seconds(1)
  /// How long a server that stops tries to remove its row.
  static let farewellLimit = Duration.seconds(3)
  /// How long a heartbeat may take. A server whose writes take longer is not where writes go, whatever it was before: on a
  /// master that is cut off from the others they may wait for the length of that.
  static let commitLimit = Duration.seconds(3)

  let configuration: ServerConfiguration
  let database: DatabaseAccess
  let file: PrimaryFile
  let status: HAStatus
  let metrics: ServerMetrics
  let clock: ServerClock
  let logger: Logger

  func run() async throws {
    await cancelWhenGracefulShutdown {
      await withTaskGroup(of: Void.self) { group in
        // With a fixed mode there is nothing to find out.
        if configuration.haMode == .auto { group.addTask { await look() } }
        group.addTask { await beat() }
        await group.waitForAll()
      }
    }
    await farewell()
  }

  private func look() async {
    while !Task.isCancelled {
      let seen = await file.look()
      status.update { $0.saw(seen) }
      try? await Task.sleep(for: Self.lookInterval)
    }
  }

  private func beat() async {
    while !Task.isCancelled {
      guard (try? await database.opened()) != nil else { return }
      let succeeded = await heartbeat()
      let standing = status.standing
      let mayLead = standing.primary == nil && standing.state != .master
      let pause =
        !succeeded && mayLead && configuration.haMode == .auto
        ? Self.retryInterval : .seconds(configuration.heartbeatSeconds)
      await status.wishes.wait(atMost: pause)
    }
  }

  private func heartbeat() async -> Bool {
    let began = clock.uptime()
    let (id, address, isMaster) = (
      configuration.instanceID, configuration.publicURL, status.isMaster
    )
    let now = clock.now()
    do {
      if configuration.haMode == .auto {
        let before = await file.look()
        status.update { $0.saw(before) }
      }
      let committed = await within(Self.commitLimit) {
        await Self.result {
          try await database.write { database in
            try ReplicaRegistry.heartbeat(
              database,
              id: id,
              address: address,
              isMaster: isMaster,
              now: now
            )
          }
        }
      }
      guard let committed else { throw HeartbeatTimeout() }
      try committed.get()
      if configuration.haMode == .auto {
        let after = await file.look()
        status.update { $0.committedHeartbeat(after) }
      }
      metrics.add(MetricNames.heartbeats)
      metrics.set(MetricNames.heartbeatSeconds, to: clock.uptime() - began)
      // The row says "replica" yet.
      if !isMaster, status.isMaster { status.wishForHeartbeat() }
      await overview()
      return true
    } catch {
      metrics.add(MetricNames.heartbeatErrors)
      logger.warning("A heartbeat could not be committed", metadata: ["error": "\(error)"])
      status.update { $0.failedToWrite() }
      await overview()
      return false
    }
  }

  private static func result(
    _ body: @Sendable () async throws -> Void
  ) async -> Result<Void, any Error> {
    do {
      return .success(try await body())
    } catch {
      return .failure(error)
    }
  }

  /// What this server's own database knows of all.
  private func overview() async {
    let now = clock.now()
    guard
      let overview = try? await database.read({
        try ReplicaRegistry.overview($0, now: now)
      })
    else { return }
    status.setMasterURL(overview.masterURL)
    metrics.set(MetricNames.replicas, to: Double(overview.replicas))
    metrics.set(MetricNames.nodes, to: Double(overview.nodes))
    metrics.set(MetricNames.clusters, to: Double(overview.clusters))
    if let newest = overview.newest { metrics.set(MetricNames.lastHeartbeat, to: newest) }
  }

  private func farewell() async {
    let id = configuration.instanceID
    let removed: Void? = await within(Self.farewellLimit) {
      try? await database.write { try ReplicaRegistry.remove($0, id: id) }
    }
    if removed == nil {
      logger.warning("The row of this server stays in the registry until another one removes it")
    }
  }
}

/// A heartbeat goes on without anybody waiting for it.
private struct HeartbeatTimeout: Error, CustomStringConvertible {
  let description = "it was not committed within \(HeartbeatService.commitLimit)"
}

/// Runs something for a limited time; nil when that did not suffice. What is run must end when it is cancelled, or else
/// goes on by itself without anybody waiting.
@discardableResult
func within<Value: Sendable>(
  _ limit: Duration,
  _ body: @escaping @Sendable () async -> Value?
) async -> Value? {
  let (results, result) = AsyncStream<Value?>.makeStream()
  let work = Task { result.yield(await body()) }
  let timer = Task {
    try? await Task.sleep(for: limit)
    result.yield(nil)
  }
  defer {
    work.cancel()
    timer.cancel()
  }
  return await withTaskCancellationHandler {
    for await value in results { return value }
    return nil
  } onCancel: {
    result.finish()
  }
}
