package import NIOPosix

/// Looks at the certificate files now and then: a service.
///
/// It compares what the files hold, not their times: a copy may keep an old time, and a renewal within
/// one tick of the file system's clock must not be missed.
package struct TLSWatcher: Sendable {
  /// How long after a renewal the new files are in use at the latest.
  package static let defaultInterval = Duration.seconds(10)

  private let credentials: TLSCredentials
  private let interval: Duration
  private let clock: ReplicationClock
  private let pool: NIOThreadPool

  package init(
    _ credentials: TLSCredentials,
    interval: Duration = Self.defaultInterval,
    clock: ReplicationClock = .system,
    pool: NIOThreadPool
  ) {
    self.credentials = credentials
    self.interval = interval
    self.clock = clock
    self.pool = pool
  }

  /// Ends when its task is cancelled.
  package func run() async throws {
    while !Task.isCancelled {
      // Both throw only when the task is cancelled or the pool is gone.
      guard (try? await clock.sleep(interval)) != nil,
        (try? await pool.runIfActive { credentials.reload() }) != nil
      else { return }
    }
  }
}
