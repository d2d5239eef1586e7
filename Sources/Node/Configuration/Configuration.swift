/// What an operator decides about one node: the contents of `halite.yml`, checked and complete.
///
/// Values are immutable; paths are absolute. `docs/configuration.md` describes every key.
package struct Configuration: Sendable, Equatable {
  package let fuse: FuseConfiguration
  package let data: DataConfiguration
  package let http: HTTPConfiguration
  package let replication: ReplicationConfiguration
  package let lease: LeaseConfiguration
  package let writeForwarding: Bool
  package let reads: ReadConsistency
  /// For how long a replica's local reads go on without a word of the primary; nil for no limit.
  package let maxStaleness: Duration?
  /// Commands to run on the mount: all but the last run to completion, one after the other.
  package let exec: [ExecCommand]
  /// How long a command may take to end after SIGTERM before it is killed.
  package let execStopTimeout: Duration
  package let log: LogConfiguration
}

/// The mount.
package struct FuseConfiguration: Sendable, Equatable {
  package let directory: String
  /// Whether other users than the one who runs the node may use the mount.
  package let allowOther: Bool
  /// What to let the kernel pass to the disk where it can.
  package let passthrough: Passthrough
  /// Whether to keep idle processors awake while the mount is busy; nil: on machines with few of them.
  package let lowLatency: Bool?
}

/// Which files the kernel may read and write by itself.
package enum Passthrough: String, Sendable, CaseIterable {
  /// Databases, their shared memory, and on a primary that replicates asynchronously also write-ahead logs:
  /// commits are then read from those.
  case all
  /// Databases and their shared memory.
  case databases
  /// None: every read and write comes to the daemon.
  case off
}

/// The node's own files.
package struct DataConfiguration: Sendable, Equatable {
  package let directory: String
  /// How long entries of the log are kept for replicas that are away.
  package let retention: Duration
  /// Bytes; the log is cut beyond it, whoever still needs it.
  package let maxLogSize: Int64
  /// Whether pages are compressed in full segments of the log and on their way to replicas.
  package let compress: Bool
  /// Bytes of databases that the scrub reads in a second; zero turns it off.
  package let scrubRate: Int64
  /// From the beginning of one pass of the scrub to that of the next.
  package let scrubInterval: Duration
  /// The path of the Unix socket through which the other commands reach the node.
  package let controlSocket: String
}

/// The read-only HTTP server.
package struct HTTPConfiguration: Sendable, Equatable {
  /// Nil turns the server off.
  package let address: SocketAddressText?
  /// Whether the operator chose the address: a default one that is taken is not a failure.
  package let isDefault: Bool
}

/// The node-to-node connection.
package struct ReplicationConfiguration: Sendable, Equatable {
  package let address: SocketAddressText
  /// What peers connect to.
  package let advertise: SocketAddressText
  package let sync: SyncMode
  /// A replica further behind than this is not ready.
  package let maxLag: Duration
  /// Nil only for a node that is not part of a cluster.
  package let tls: TransportSecurity?
}

/// How safe a commit is when it returns.
package enum SyncMode: String, Sendable, CaseIterable {
  /// The local log has it.
  case async
  /// A majority of the voters has it on stable storage.
  case quorum
}

/// What reads see.
package enum ReadConsistency: String, Sendable, CaseIterable {
  /// What this node has applied.
  case local
  /// All that was committed when the read began.
  case linearizable
}

/// How the node-to-node connection is protected.
package enum TransportSecurity: Sendable, Equatable {
  case certificates(ca: String, certificate: String, key: String)
  /// Plain text; accepted on loopback addresses only.
  case insecure
}

/// Who is primary.
package struct LeaseConfiguration: Sendable, Equatable {
  package enum Kind: Sendable, Equatable {
    /// The node stands alone and is its own primary.
    case single
    /// One fixed primary, `isPrimary` if this node is it.
    case fixed(primary: SocketAddressText, isPrimary: Bool)
    /// The voters elect one of them.
    case quorum(QuorumConfiguration)
  }

  /// The node's name in `status`, `.primary` and in its certificate.
  package let hostname: String
  package let kind: Kind
}

/// Who elects the primary, and how fast.
package struct QuorumConfiguration: Sendable, Equatable {
  /// Where each voter is reached, by its node's name; this node need not be one of them.
  package let voters: [String: SocketAddressText]
  /// How long a primary may act, and is waited for, without word from a majority.
  package let ttl: Duration
  /// Of candidates with equal logs that with the highest priority becomes the primary.
  package let priority: Int
  package let isCandidate: Bool

  func isVoter(_ name: String) -> Bool { voters[name] != nil }
}

/// A command of `exec`.
package struct ExecCommand: Sendable, Equatable {
  /// The program and its arguments; never empty.
  package let arguments: [String]
  /// Whether to run it only on a node that may become primary.
  package let onlyIfCandidate: Bool

  package init(arguments: [String], onlyIfCandidate: Bool = false) {
    self.arguments = arguments
    self.onlyIfCandidate = onlyIfCandidate
  }
}

/// What is logged and how.
package struct LogConfiguration: Sendable, Equatable {
  package enum Format: String, Sendable, CaseIterable {
    case text, json
  }
  package enum Level: String, Sendable, CaseIterable {
    case trace, debug, info, notice, warning, error, critical
  }

  package let format: Format
  package let level: Level
}

extension Configuration {
  /// Whether this node may be primary.
  package var isCandidate: Bool {
    switch lease.kind {
    case .single: true
    case .fixed(_, let isPrimary): isPrimary
    case .quorum(let quorum): quorum.isCandidate && quorum.isVoter(lease.hostname)
    }
  }
}
