import Foundation

/// The three PEM files of a node.
package struct TLSFiles: Hashable, Sendable {
  package var authority: String
  package var certificate: String
  package var key: String

  package init(authority: String, certificate: String, key: String) {
    self.authority = authority
    self.certificate = certificate
    self.key = key
  }

  /// The longest file read, in bytes: a bundle of many certificates is a tenth of it.
  static let maxSize = 1 << 20

  /// What the files hold. Blocks.
  package func read() throws(ReplicationError) -> TLSFileContents {
    TLSFileContents(
      authority: try Self.read(authority, "tls.ca"),
      certificate: try Self.read(certificate, "tls.cert"),
      key: try Self.read(key, "tls.key")
    )
  }

  private static func read(_ path: String, _ setting: String) throws(ReplicationError) -> String {
    let bytes: Data
    do {
      let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
      defer { try? handle.close() }
      bytes = try handle.read(upToCount: maxSize + 1) ?? Data()
    } catch {
      throw ReplicationError(
        .certificate,
        "\(path) (replication.\(setting)) cannot be read: `halite cert issue` makes it.",
        cause: error
      )
    }
    guard bytes.count <= maxSize, let text = String(data: bytes, encoding: .utf8) else {
      throw ReplicationError(
        .certificate,
        "\(path) (replication.\(setting)) is not a PEM file."
      )
    }
    return text
  }
}

package struct TLSFileContents: Hashable, Sendable {
  package var authority: String
  package var certificate: String
  package var key: String

  package init(authority: String, certificate: String, key: String) {
    self.authority = authority
    self.certificate = certificate
    self.key = key
  }
}
