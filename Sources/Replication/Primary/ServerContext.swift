import Logging
import NIOPosix
import Store

/// What the connections of one server share.
struct ServerContext: Sendable {
  let configuration: ReplicationServer.Configuration
  let source: any ReplicationSource
  let term: @Sendable () -> Term?
  let metrics: ReplicationMetrics
  let refusals: RefusalLog
  let registry: PeerRegistry
  let voters: AcceptedVoters
  let pool: NIOThreadPool
  let logger: Logger
}
