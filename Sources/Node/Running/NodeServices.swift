import CoreMetrics
import FuseFS
import Logging
import NIOPosix
import Replication
import ServiceLifecycle
import Store
import Synchronization

/// Runs something that ends by cancellation until the group shuts down.
struct CancelledAtShutdown: Service {
  let body: @Sendable () async throws -> Void

  init(_ body: @escaping @Sendable () async throws -> Void) { self.body = body }

  func run() async throws {
    do {
      try await cancelWhenGracefulShutdown { try await body() }
    } catch is CancellationError {
      return
    }
  }
}

/// Remembers that the mount is gone, for whoever waits for that.
final class MountEnd: Sendable {
  private let stream: AsyncStream<Void>
  private let continuation: AsyncStream<Void>.Continuation

  init() { (stream, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1)) }

  func note() { continuation.finish() }

  /// Returns when the mount is gone or the task is cancelled.
  func wait() async { for await _ in stream {} }
}

/// Holds the mount; takes it down at shutdown, and the node with it when somebody else did.
struct MountService: Service {
  let node: HaliteNode

  func run() async throws {
    await cancelWhenGracefulShutdown { await node.mountEnd.wait() }
    if Task.isShuttingDownGracefully {
      let (mount, store) = (node.mount, node.store)
      try await node.pool.runIfActive {
        store.prepareToUnmount()
        _ = mount.unmount()
      }
      return
    }
    // Another part of the node has failed, and says so itself.
    if Task.isCancelled { return }
    node.logger.error("the mount was taken down by somebody else; the node ends")
  }
}

/// Housekeeping of the store, and counts that are read rather than told.
struct MaintenanceService: Service {
  /// Short enough that redo after a crash stays short, long enough to cost nothing.
  static let interval = Duration.seconds(2)

  let node: HaliteNode
  let metrics: NodeMetrics

  func run() async throws {
    try await CancelledAtShutdown { try await rounds() }.run()
  }

  private func rounds() async throws {
    var last = ReplicationMetrics.Counts()
    while true {
      try await Task.sleep(for: Self.interval)
      let now = node.replicationMetrics.current
      let hasSent = now.snapshotsSent != last.snapshotsSent
      await round(hasSent || now.snapshotsReceived != last.snapshotsReceived)
      last = report(since: last)
    }
  }

  /// - Parameter hasMoved: whether a database was sent or received since the last round.
  private func round(_ hasMoved: Bool) async {
    let store = node.store
    let hadTrouble = store.trouble != nil
    do {
      try await node.pool.runIfActive {
        // On a full disk the second may make the room that the first finds missing.
        let mended = Result { try store.mend() }
        let hasPacked = try store.maintain()
        if store.releaseLarge() || hasPacked || hasMoved { NativeMemory.release() }
        try mended.get()
      }
    } catch {
      metrics.errors.increment()
      // What goes on failing was said when it began.
      let level: Logger.Level = hadTrouble ? .debug : .error
      node.logger.log(level: level, "housekeeping failed", metadata: ["error": "\(error)"])
    }
    let summary = store.log.summary()
    metrics.logBytes.record(store.log.usage().bytes)
    metrics.logFirstIndex.record(Double(summary.first.rawValue))
    metrics.logLastIndex.record(Double(summary.last.index.rawValue))
  }

  private func report(since last: ReplicationMetrics.Counts) -> ReplicationMetrics.Counts {
    let now = node.replicationMetrics.current
    for (reason, count) in now.refusals {
      for _ in 0..<max(0, count - (last.refusals[reason] ?? 0)) { metrics.refused(reason.label) }
    }
    metrics.connectionsOpened.increment(
      by: Int64(
        now.connectionsMade - last.connectionsMade + now.connectionsAccepted
          - last.connectionsAccepted
      )
    )
    metrics.snapshotsSent.increment(by: Int64(now.snapshotsSent - last.snapshotsSent))
    metrics.snapshotsReceived.increment(by: Int64(now.snapshotsReceived - last.snapshotsReceived))
    return now
  }
}

/// Starts the command once the node is ready: an application on a new replica would otherwise
/// find no database and make its own.
struct ReadyThenExec: Service {
  /// How often readiness is looked at; it depends on a peer, so nothing local tells of it.
  static let interval = Duration.milliseconds(50)

  let exec: ExecService
  let node: HaliteNode

  func run() async throws {
    if !node.configuration.exec.isEmpty {
      do {
        try await cancelWhenGracefulShutdown {
          while node.readiness() != .ready { try await Task.sleep(for: Self.interval) }
        }
      } catch is CancellationError {
        return
      }
    }
    try await exec.run()
  }
}
