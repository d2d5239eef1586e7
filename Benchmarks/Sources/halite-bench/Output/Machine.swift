import CSQLite
import Foundation
import Glibc

/// Under what circumstances the figures were got.
enum Machine {
  static var load: String {
    let text = (try? String(contentsOfFile: "/proc/loadavg", encoding: .utf8)) ?? ""
    return text.split(separator: " ").prefix(3).joined(separator: " ")
  }

  static func description(of directory: String) -> String {
    var names = utsname()
    uname(&names)
    let release = withUnsafeBytes(of: &names.release) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    let processors = ProcessInfo.processInfo.activeProcessorCount
    return "Linux \(release), \(processors) processors, \(fileSystem(of: directory)), "
      + "SQLite \(String(cString: sqlite3_libversion()))"
  }

  /// The name by which the kernel lists the file system that a directory lies on.
  static func fileSystem(of directory: String) -> String {
    let lines = (try? String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)) ?? ""
    var best: (path: Substring, type: Substring) = ("", "an unknown file system")
    for line in lines.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 2 else { continue }
      let path = fields[1]
      let isAbove = path == "/" || directory == path || directory.hasPrefix(path + "/")
      if isAbove, path.count >= best.path.count { best = (path, fields[2]) }
    }
    return String(best.type)
  }
}
