import Foundation

/// The file by which a replicated file system says who its primary is.
struct PrimaryFile: Sendable {
  private let path: String

  /// - Parameter database: path of the database that it lies beside.
  init(beside database: String) {
    let directory = (database as NSString).deletingLastPathComponent
    path = (directory.isEmpty ? "." : directory) + "/.primary"
  }

  /// Blocks, on a file system that hangs for as long as that does.
  func read() -> Standing.PrimaryFile {
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
