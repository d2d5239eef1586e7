import LTX
import NIOCore
import Store

extension Hello {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeHelloStart(versions)
    buffer.writeInteger(features.rawValue)
    buffer.writeText(cluster?.rawValue ?? "", max: ClusterID.maxLength)
    buffer.writeText(name, max: WireLimit.name)
    buffer.writeInteger(wantsReset ? 1 : 0 as UInt8)
    log.encode(into: &buffer)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let versions = try reader.helloStart()
    let features = Features(rawValue: try reader.integer())
    let cluster = try reader.clusterIfKnown()
    let name = try reader.nodeName()
    let wantsReset = try reader.flag()
    self.init(
      versions: versions,
      features: features,
      cluster: cluster,
      name: name,
      wantsReset: wantsReset,
      log: try LogSummary(from: &reader)
    )
  }
}

extension Welcome {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(version)
    buffer.writeInteger(features.rawValue)
    buffer.writeText(cluster.rawValue, max: ClusterID.maxLength)
    buffer.writeText(name, max: WireLimit.name)
    log.encode(into: &buffer)
    let listed = databases.prefix(WireLimit.databases)
    buffer.writeInteger(UInt32(listed.count))
    for database in listed { database.encode(into: &buffer) }
    plan.encode(into: &buffer)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    let version = try reader.integer(UInt16.self)
    let features = Features(rawValue: try reader.integer())
    guard let cluster = ClusterID(rawValue: try reader.text(max: ClusterID.maxLength)) else {
      throw ReplicationError(.malformed, "A welcome names an impossible cluster id.")
    }
    let name = try reader.nodeName()
    let log = try LogSummary(from: &reader)
    let count = try reader.count(
      max: WireLimit.databases,
      elementSize: DatabaseSummary.smallestSize
    )
    var databases: [DatabaseSummary] = []
    databases.reserveCapacity(count)
    for _ in 0..<count { databases.append(try DatabaseSummary(from: &reader)) }
    self.init(
      version: version,
      features: features,
      cluster: cluster,
      name: name,
      log: log,
      databases: databases,
      plan: try CatchUpPlan(from: &reader)
    )
  }
}

extension Refusal {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(reason.rawValue)
    buffer.writeText(text, max: WireLimit.text)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    // A later version may know more reasons; its text still tells what they are.
    let reason = RefusalReason(rawValue: try reader.integer()) ?? .other
    self.init(reason: reason, text: try reader.text(max: WireLimit.text))
  }
}

extension Goodbye {
  func encode(into buffer: inout ByteBuffer) {
    buffer.writeInteger(reason.rawValue)
    buffer.writeText(text, max: WireLimit.text)
  }

  init(from reader: inout WireReader) throws(ReplicationError) {
    guard let reason = Reason(rawValue: try reader.integer()) else {
      throw ReplicationError(.malformed, "A goodbye has an unknown reason.")
    }
    self.init(reason: reason, text: try reader.text(max: WireLimit.text))
  }
}

extension ByteBuffer {
  /// What every first message of a connection opens with.
  mutating func writeHelloStart(_ versions: ClosedRange<UInt16>) {
    writeInteger(Hello.magic)
    writeInteger(versions.lowerBound)
    writeInteger(versions.upperBound)
  }
}

extension WireReader {
  mutating func helloStart() throws(ReplicationError) -> ClosedRange<UInt16> {
    guard try integer(UInt32.self) == Hello.magic else {
      throw ReplicationError(.malformed, "A hello does not begin with its magic number.")
    }
    let low = try integer(UInt16.self)
    let high = try integer(UInt16.self)
    guard low <= high else {
      throw ReplicationError(.malformed, "A hello names an empty range of versions.")
    }
    return low...high
  }

  /// Empty text stands for a cluster that is not known yet.
  mutating func clusterIfKnown() throws(ReplicationError) -> ClusterID? {
    let text = try text(max: ClusterID.maxLength)
    if text.isEmpty { return nil }
    guard let cluster = ClusterID(rawValue: text) else {
      throw ReplicationError(.malformed, "A hello names an impossible cluster id.")
    }
    return cluster
  }

  /// A name that can stand in a log line: not empty, no control characters.
  mutating func nodeName() throws(ReplicationError) -> String {
    let name = try text(max: WireLimit.name)
    guard !name.isEmpty, name.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f })
    else { throw ReplicationError(.malformed, "A message names an impossible node.") }
    return name
  }
}
