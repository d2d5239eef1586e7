import Foundation

/// The files of this package, found from where this one lies.
enum Repository {
  static var root: URL {
    URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  }

  struct Source: Sendable, CustomStringConvertible {
    /// As `Store/Log/Log.swift`.
    let path: String
    let text: String

    var description: String { path }
    var room: String { String(path.prefix { $0 != "/" }) }
  }

  /// Every Swift file under `Sources`.
  static func sources() throws -> [Source] {
    let directory = root.appendingPathComponent("Sources").path
    let paths = try FileManager.default.subpathsOfDirectory(atPath: directory)
    return try paths.filter { $0.hasSuffix(".swift") }.sorted().map { path in
      Source(
        path: path,
        text: try String(contentsOfFile: directory + "/" + path, encoding: .utf8)
      )
    }
  }
}
