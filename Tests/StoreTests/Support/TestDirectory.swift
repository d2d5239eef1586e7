import Foundation

@testable import Store

/// A fresh directory that goes when the last reference does.
final class TestDirectory: Sendable {
  let path: String

  init(_ name: String = #function) throws {
    let letters = name.prefix { $0.isLetter || $0.isNumber }
    let url = FileManager.default.temporaryDirectory
      .appendingPathComponent("halite-store-\(letters)-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.resolvingSymlinksInPath().path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// The files below, relative to the directory, with their bytes.
  func files(_ below: String = "") throws -> [String: [UInt8]] {
    let root = below.isEmpty ? path : path + "/" + below
    var found: [String: [UInt8]] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: root) {
      var isDirectory: ObjCBool = false
      let full = root + "/" + name
      guard FileManager.default.fileExists(atPath: full, isDirectory: &isDirectory),
        !isDirectory.boolValue
      else { continue }
      found[name] = try bytes(ofFile: full)
    }
    return found
  }

  /// A copy of a directory as it is on the disk now, as after the crash of a process.
  static func copy(of source: String) throws -> TestDirectory {
    let copy = try TestDirectory("copy")
    for name in try FileManager.default.contentsOfDirectory(atPath: source) {
      try FileManager.default.copyItem(atPath: source + "/" + name, toPath: copy.path + "/" + name)
    }
    return copy
  }
}

func bytes(ofFile path: String) throws -> [UInt8] {
  Array(try Data(contentsOf: URL(fileURLWithPath: path)))
}

func write(_ bytes: [UInt8], toFile path: String) throws {
  try Data(bytes).write(to: URL(fileURLWithPath: path))
}
