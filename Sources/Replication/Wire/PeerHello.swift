import NIOCore

/// The first message of a voter that dials another one: who it is. What it then says travels as
/// `peerMessage`; the answers come over the connection that the other one dials.
package struct PeerHello: Hashable, Sendable {
  package var versions: ClosedRange<UInt16>
  package var features: Features
  /// Nil for a node that has not joined a cluster yet.
  package var cluster: ClusterID?
  package var name: String

  package init(
    versions: ClosedRange<UInt16> = ProtocolVersion.supported,
    features: Features = .supported,
    cluster: ClusterID?,
    name: String
  ) {
    self.versions = versions
    self.features = features
    self.cluster = cluster
    self.name = name
  }
}

/// The answer to a voter's hello.
package struct PeerWelcome: Hashable, Sendable {
  package var version: UInt16
  package var features: Features
  /// Nil for a node that has not joined a cluster yet.
  package var cluster: ClusterID?
  package var name: String

  package init(version: UInt16, features: Features, cluster: ClusterID?, name: String) {
    self.version = version
    self.features = features
    self.cluster = cluster
    self.name = name
  }
}

extension PeerHello {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeHelloStart(versions)
    buffer.writeInteger(features.rawValue)
    buffer.writeText(cluster?.rawValue ?? "", max: ClusterID.maxLength)
    buffer.writeText(name, max: WireLimit.name)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let versions = try reader.helloStart()
    let features = Features(rawValue: try reader.integer())
    let cluster = try reader.clusterIfKnown()
    self.init(
      versions: versions,
      features: features,
      cluster: cluster,
      name: try reader.nodeName()
    )
  }
}

extension PeerWelcome {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(version)
    buffer.writeInteger(features.rawValue)
    buffer.writeText(cluster?.rawValue ?? "", max: ClusterID.maxLength)
    buffer.writeText(name, max: WireLimit.name)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let version = try reader.integer(UInt16.self)
    let features = Features(rawValue: try reader.integer())
    let cluster = try reader.clusterIfKnown()
    self.init(
      version: version,
      features: features,
      cluster: cluster,
      name: try reader.nodeName()
    )
  }
}

extension WireReader {
  /// All that is left: what it means is for others to know.
  mutating func peerMessage() throws(ReplicationError) -> [UInt8] {
    guard remaining <= WireLimit.peerMessage else {
      throw ReplicationError(
        .malformed,
        "A voter's message of \(remaining) bytes exceeds the bound of \(WireLimit.peerMessage)."
      )
    }
    return try bytes(remaining)
  }
}
