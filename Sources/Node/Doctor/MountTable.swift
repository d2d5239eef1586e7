import Foundation

/// The kernel's list of mounts (proc_pid_mountinfo(5)).
struct MountTable {
  struct Entry {
    let path: String
    /// As `ext4`.
    let type: String
  }

  static func read() -> [Entry] {
    let text = (try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)) ?? ""
    return parse(text)
  }

  /// Fields: identifiers, device, root, mount point, options, optional fields, `-`, type, ...
  static func parse(_ text: String) -> [Entry] {
    text.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count > 4, let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count
      else { return nil }
      return Entry(path: unescaped(fields[4]), type: String(fields[dash + 1]))
    }
  }

  /// The entry a path lies on: the deepest mount above it, the last one where several cover it.
  static func entry(of path: String, in entries: [Entry]) -> Entry? {
    var best: Entry?
    for entry in entries where Paths.isWithin(path, entry.path) {
      if entry.path.utf8.count >= best?.path.utf8.count ?? 0 { best = entry }
    }
    return best
  }

  /// Blanks and backslashes are written as three octal digits.
  private static func unescaped(_ field: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = field.utf8[...]
    while let byte = rest.first {
      rest.removeFirst()
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3,
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
