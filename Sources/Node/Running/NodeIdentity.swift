import Foundation
import LTX
import Replication

/// Numbers and names by which nodes and clusters are told apart.
enum NodeIdentity {
  /// The node in the header of LTX files: a hash of its name, so that it stays over restarts.
  static func number(of name: String) -> UInt64 {
    var crc = CRC64()
    Array(name.utf8).withUnsafeBytes { crc.update($0) }
    return crc.value
  }

  /// The machine's start (random(4), "boot_id"); nil where the kernel does not tell.
  static func boot() -> String? {
    let text = try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8)
    return text?.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// An identity for a cluster that begins with this node.
  static func newCluster() -> ClusterID {
    guard let identity = ClusterID(rawValue: UUID().uuidString.lowercased()) else {
      preconditionFailure("a UUID consists of digits, letters and hyphens")
    }
    return identity
  }
}
