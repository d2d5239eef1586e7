import NIOCore
package import Store

/// The first message of a replica: who it is and what its log holds.
package struct Hello: Hashable, Sendable {
  /// The four bytes of "Hali".
  static let magic: UInt32 = 0x4861_6c69

  /// The versions of the protocol this side speaks.
  package var versions: ClosedRange<UInt16>
  package var features: Features
  /// Nil for a node that has not joined a cluster yet: it takes the primary's.
  package var cluster: ClusterID?
  package var name: String
  /// Set when the replica cannot go on from its own log and asks to be rebuilt by snapshots.
  package var wantsReset: Bool
  package var log: LogSummary

  package init(
    versions: ClosedRange<UInt16> = ProtocolVersion.supported,
    features: Features = .supported,
    cluster: ClusterID?,
    name: String,
    wantsReset: Bool,
    log: LogSummary
  ) {
    self.versions = versions
    self.features = features
    self.cluster = cluster
    self.name = name
    self.wantsReset = wantsReset
    self.log = log
  }
}

/// The versions of the protocol. Two nodes use the highest both speak, so that the nodes of a cluster
/// can be upgraded one by one.
package enum ProtocolVersion {
  package static let supported: ClosedRange<UInt16> = 1...1
}

/// What both sides may use beyond the base of the protocol version: the intersection counts.
package struct Features: OptionSet, Hashable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Entries may have a packed payload, see `LogPacker`.
  package static let packedEntries = Features(rawValue: 1)
  /// The replica may ask for grants, see `GrantRequest`.
  package static let writeGrants = Features(rawValue: 2)

  /// A majority belongs to the primary's cluster: whoever follows does from now on.
  package static let confirmedCluster = Features(rawValue: 4)

  package static let supported: Features = [.packedEntries, .writeGrants, .confirmedCluster]
}

/// The answer to a hello: how the replica's log is brought in line with the primary's.
package struct Welcome: Hashable, Sendable {
  package var version: UInt16
  package var features: Features
  package var cluster: ClusterID
  package var name: String
  package var log: LogSummary
  package var databases: [DatabaseSummary]
  package var plan: CatchUpPlan

  package init(
    version: UInt16,
    features: Features,
    cluster: ClusterID,
    name: String,
    log: LogSummary,
    databases: [DatabaseSummary],
    plan: CatchUpPlan
  ) {
    self.version = version
    self.features = features
    self.cluster = cluster
    self.name = name
    self.log = log
    self.databases = databases
    self.plan = plan
  }
}

/// The answer to a hello, or to any frame, when the two nodes must not talk.
package struct Refusal: Hashable, Sendable {
  package var reason: RefusalReason
  package var text: String

  package init(reason: RefusalReason, text: String) {
    self.reason = reason
    self.text = text
  }
}

/// The last message before an orderly end of the connection.
package struct Goodbye: Hashable, Sendable {
  package enum Reason: UInt8, Sendable {
    /// The node stops; come back later.
    case stopping = 1
    /// The primary's log no longer holds what the replica needs next: say hello again.
    case behind = 2
    /// The peer sent what it must not.
    case violation = 3
    /// The term of the sender changed: say hello again.
    case newTerm = 4
    /// A newer connection of the same node took over.
    case replaced = 5
    /// The sender's store failed.
    case failure = 6
  }

  package var reason: Reason
  package var text: String

  package init(reason: Reason, text: String) {
    self.reason = reason
    self.text = text
  }
}

/// Bounds of what a message may carry.
package enum WireLimit {
  /// Bytes of a node's name: that of a DNS name.
  package static let name = 255
  /// Bytes of a database's name: a path within the mount.
  package static let database = 4_096
  /// Bytes of a text for people.
  package static let text = 1_024
  /// Term starts in a summary: the latest suffice, as logs part near their ends.
  package static let termStarts = 1_024
  /// Databases in a welcome.
  package static let databases = 1 << 16
  /// Checksums in one frame of a snapshot request: 64 KiB of them.
  package static let checksumsPerFrame = 8_192
  /// Checksums in one snapshot request: 128 GiB of pages of 4 KiB, 256 MiB in memory. Of a larger
  /// database the rest counts as different.
  package static let checksums = 1 << 25
  /// Bytes of a message between voters: a few numbers and names.
  package static let peerMessage = 4_096
  /// Bytes that a replica appends to the log at a time: a transaction of 1 MiB, above which it comes
  /// in parts, and room for more.
  package static let appended = (1 << 20) + (64 << 10)
}
