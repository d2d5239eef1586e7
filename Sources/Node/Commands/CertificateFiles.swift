package import Foundation
import Replication

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// `halite cert`: the cluster's certificate authority and the nodes' certificates as files.
///
/// `ca.pem` goes to every node, `ca-key.pem` stays where certificates are issued. Keys are readable
/// by their owner alone from the first byte on.
package struct CertificateFiles: Sendable {
  private let directory: String

  package init(directory: String) { self.directory = directory }

  /// Makes the authority. Refuses to replace one: the nodes would no longer know each other.
  ///
  /// - Returns: the files written.
  package func makeAuthority(days: Int?, now: Date = Date()) throws(ControlError) -> [String] {
    let certificate = directory + "/ca.pem"
    let key = directory + "/ca-key.pem"
    for path in [certificate, key] where FileManager.default.fileExists(atPath: path) {
      throw ControlError(
        .local,
        "\(path) exists; nodes with certificates of the old authority would be cut off, "
          + "so remove it yourself if that is what you want"
      )
    }
    do {
      try FileManager.default.createDirectory(
        atPath: directory,
        withIntermediateDirectories: true
      )
      let authority = try CertificateAuthority(
        named: "Halite cluster",
        now: now,
        validityDays: days ?? CertificateAuthority.defaultValidityDays
      )
      let files = try authority.files()
      try write(files.key, to: key, mode: 0o600)
      try write(files.certificate, to: certificate, mode: 0o644)
    } catch {
      throw ControlError(.local, "the authority cannot be made", cause: error)
    }
    return [certificate, key]
  }

  /// Makes a node's certificate and key.
  ///
  /// - Returns: the files written.
  package func issue(
    name: String,
    hosts: [String],
    days: Int?,
    replacing: Bool,
    now: Date = Date()
  ) throws(ControlError) -> [String] {
    let certificate = "\(directory)/\(name).pem"
    let key = "\(directory)/\(name)-key.pem"
    guard name != "ca" else {
      throw ControlError(.local, "the name ca is the authority's; give the node another")
    }
    if !replacing, FileManager.default.fileExists(atPath: certificate) {
      throw ControlError(.local, "\(certificate) exists; add --renew to replace it")
    }
    do {
      let issued = try authority().issue(
        name: name,
        hosts: hosts,
        now: now,
        validityDays: days ?? CertificateAuthority.defaultNodeValidityDays
      )
      try write(issued.key, to: key, mode: 0o600)
      try write(issued.certificate, to: certificate, mode: 0o644)
    } catch let error as ControlError {
      throw error
    } catch {
      throw ControlError(.local, "the certificate of \(name) cannot be made", cause: error)
    }
    return [certificate, key]
  }

  private func authority() throws -> CertificateAuthority {
    guard let certificate = try? String(contentsOfFile: directory + "/ca.pem", encoding: .utf8),
      let key = try? String(contentsOfFile: directory + "/ca-key.pem", encoding: .utf8)
    else {
      throw ControlError(
        .local,
        "\(directory) has no ca.pem and ca-key.pem that this user may read; make them "
          + "with `halite cert init --dir \(directory)`"
      )
    }
    return try CertificateAuthority(certificatePEM: certificate, keyPEM: key)
  }

  /// A node that runs reads certificates again when they change, so a file is replaced whole.
  private func write(_ text: String, to path: String, mode: mode_t) throws {
    let temporary = path + ".new"
    try? FileManager.default.removeItem(atPath: temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard descriptor >= 0 else {
      throw ControlError(
        .local,
        "\(temporary) cannot be written: \(String(cString: strerror(errno)))"
      )
    }
    let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    try handle.write(contentsOf: Data(text.utf8))
    try handle.synchronize()
    try handle.close()
    guard rename(temporary, path) == 0 else {
      throw ControlError(.local, "\(path) cannot be written: \(String(cString: strerror(errno)))")
    }
  }
}
