import Foundation
import Testing

/// The package as its own tools describe it.
struct PackageDescription: Decodable {
  struct Target: Decodable {
    let name: String
    let type: String
    let target_dependencies: [String]?
    let product_dependencies: [String]?
  }

  let targets: [Target]

  /// Runs `swift package describe` with a scratch directory of its own, since the one in the
  /// package is locked by whoever runs these tests.
  static func load() throws -> PackageDescription {
    let scratch = FileManager.default.temporaryDirectory
      .appendingPathComponent("halite-architecture-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: scratch) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "swift", "package", "--package-path", Repository.root.path, "--scratch-path", scratch.path,
      "describe", "--type", "json",
    ]
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    let data = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "swift package describe failed")
    // Warnings of the tool may come first.
    let start = try #require(data.firstIndex(of: UInt8(ascii: "{")))
    return try JSONDecoder().decode(PackageDescription.self, from: data[start...])
  }
}
