import CArchive
import Foundation
import HTTPTypes
import Yams

/// Checks that a configuration bundle is one: a gzip-compressed tar archive with the files a node needs at its top.
///
/// The archive comes from a client: sizes are bounded before anything is allocated, and what is read stays in memory.
enum BundleArchive {
  /// Of the compressed archive.
  static let maximumSize = 10 << 20
  /// Of one file within it, and of all: a small archive can hold a very large one.
  static let maximumContents = 64 << 20
  static let maximumEntries = 1000

  /// The type of a file in its mode (`S_IFREG` of stat(2)).
  private static let regularFile: mode_t = 0o100000

  static let required = ["config.yml", "ca.crt", "crl.pem", "host.crt", "host.key"]

  /// - Throws: `APIError` that says what is wrong.
  static func check(_ data: Data) throws {
    guard data.starts(with: [0x1f, 0x8b]) else {
      throw invalid("the body is not compressed with gzip")
    }
    var seen: Set<String> = []
    try forEachFile(data) { name, contents in
      guard required.contains(name) else { return }
      seen.insert(name)
      guard !contents.isEmpty else { throw invalid("\(name) is empty") }
      if name == "config.yml" { try checkYAML(contents) }
    }
    let missing = required.filter { !seen.contains($0) }
    guard missing.isEmpty else {
      throw invalid("the archive lacks \(missing.joined(separator: ", ")) at its top level")
    }
  }

  private static func invalid(_ message: String) -> APIError {
    APIError(.unprocessableContent, "invalid_format", message)
  }

  private static func checkYAML(_ contents: Data) throws {
    do {
      let value = try Yams.compose(yaml: String(decoding: contents, as: UTF8.self))
      guard value?.mapping != nil else { throw invalid("config.yml holds no mapping") }
    } catch let error as YamlError {
      throw invalid("config.yml is no YAML: \(error)")
    }
  }

  /// Calls with every regular file, its name without a leading `./`.
  private static func forEachFile(_ data: Data, _ body: (String, Data) throws -> Void) throws {
    guard let archive = archive_read_new() else {
      throw invalid("there is no memory for the archive")
    }
    defer { archive_read_free(archive) }
    archive_read_support_filter_gzip(archive)
    archive_read_support_format_tar(archive)
    // libarchive reads from these bytes until it is freed.
    try data.withUnsafeBytes { bytes in
      guard archive_read_open_memory(archive, bytes.baseAddress, bytes.count) == ARCHIVE_OK else {
        throw invalid("the body is no archive: \(reason(archive))")
      }
      var entries = 0
      var total = 0
      var entry: OpaquePointer?
      while true {
        let result = archive_read_next_header(archive, &entry)
        if result == ARCHIVE_EOF { break }
        guard result == ARCHIVE_OK, let entry else {
          throw invalid("the archive cannot be read: \(reason(archive))")
        }
        entries += 1
        guard entries <= maximumEntries else {
          throw invalid("the archive has more than \(maximumEntries) entries")
        }
        guard archive_entry_filetype(entry) == regularFile,
          let path = archive_entry_pathname(entry)
        else { continue }
        let contents = try read(archive, entry, &total)
        var name = String(cString: path)
        while name.hasPrefix("./") { name.removeFirst(2) }
        try body(name, contents)
      }
      guard entries > 0 else { throw invalid("the archive is empty") }
    }
  }

  private static func read(
    _ archive: OpaquePointer,
    _ entry: OpaquePointer,
    _ total: inout Int
  ) throws -> Data {
    let size = archive_entry_size(entry)
    guard size >= 0, size <= Int64(maximumContents - total) else {
      throw invalid("the archive holds more than \(maximumContents) bytes")
    }
    total += Int(size)
    var contents = Data(count: Int(size))
    let count = contents.withUnsafeMutableBytes { bytes in
      archive_read_data(archive, bytes.baseAddress, bytes.count)
    }
    guard count == Int(size) else {
      throw invalid("the archive cannot be read: \(reason(archive))")
    }
    return contents
  }

  private static func reason(_ archive: OpaquePointer) -> String {
    archive_error_string(archive).map { String(cString: $0) } ?? "no reason given"
  }
}
