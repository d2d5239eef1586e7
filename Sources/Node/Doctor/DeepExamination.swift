import Foundation
import NIOPosix
import Store

/// Reads everything a stopped node has on its disk, and compares it with its checksums.
package struct DeepExamination: Sendable {
  private let directory: String
  private let controlSocket: String

  package init(_ configuration: Configuration) {
    directory = configuration.data.directory
    controlSocket = configuration.data.controlSocket
  }

  /// - Parameter progress: bytes read, of those there are.
  /// - Throws: `.refused` while a node runs with the data directory: what it writes meanwhile would
  ///   be taken for damage.
  package func findings(
    progress: @escaping @Sendable (Int64, Int64) -> Void = { _, _ in }
  ) async throws -> [DoctorFinding] {
    if await ControlClient.isListening(controlSocket) { throw refusal() }
    let directory = directory
    guard FileManager.default.fileExists(atPath: directory) else {
      return [
        DoctorFinding(
          "data",
          .warn,
          "\(directory) is not there: no node has run with it",
          remedy: "give the node's own data directory: --data or data.dir"
        )
      ]
    }
    return try await NIOThreadPool.singleton.runIfActive {
      let lock: DirectoryLock?
      do {
        lock = try DirectoryLock.take(directory, making: false)
      } catch let error as StoreError where error.code == .busy {
        throw self.refusal()
      }
      // No node starts while its files are being read.
      defer { withExtendedLifetime(lock) {} }
      var verification = StoreVerification(
        StoreConfiguration(directory: directory),
        disk: SystemDisk(),
        progress: progress
      )
      return try verification.run().map(Self.finding)
    }
  }

  private func refusal() -> ControlError {
    ControlError(
      .refused,
      "a node is running with the data directory \(directory); stop it, then run "
        + "`halite doctor --deep` again; while it runs, its scrub does the same (`halite status`)"
    )
  }

  private static func finding(_ found: VerificationFinding) -> DoctorFinding {
    let level: DoctorFinding.Level =
      switch found.level {
      case .sound: .ok
      case .notable: .warn
      case .damaged: .fail
      }
    return DoctorFinding(found.subject, level, found.value, remedy: found.remedy)
  }
}
