import Dispatch
import Foundation

/// The file by which a replicated file system says who its primary is.
struct PrimaryFile: Sendable {
  /// A file system that does not answer for so long has no primary that this server could use.
  static let limit = Duration.seconds(2)

  private let path: String
  /// One after the other: a file system that hangs holds one thread and not more and more of them.
  private let queue = DispatchQueue(label: "nebulagc.primary-file")

  /// - Parameter database: path of the database that it lies beside.
  init(beside database: String) {
    let directory = (database as NSString).deletingLastPathComponent
    path = (directory.isEmpty ? "." : directory) + "/.primary"
  }

  func look() async -> Standing.PrimaryFile {
    await within(Self.limit) {
      await withCheckedContinuation { continuation in
        queue.async { continuation.resume(returning: read()) }
      }
    } ?? .unknown
  }

  private func read() -> Standing.PrimaryFile {
    do {
      let text = try String(contentsOfFile: path, encoding: .utf8)
        .trimmingCharacters(in: .whitespacesAndNewlines)
      return text.isEmpty ? .unknown : .names(text)
    } catch let error as CocoaError where error.code == .fileReadNoSuchFile {
      return .missing
    } catch {
      return .unknown
    }
  }
}
