internal import Glibc
internal import Store

/// The mounts of this process's namespace (proc_pid_mountinfo(5)).
struct MountTable: Sendable {
  struct Entry: Hashable, Sendable {
    /// The number the kernel names a FUSE connection by.
    var minor: UInt32
    var point: String
    /// `fuse`, `fuse.halite`, …
    var type: String
    var source: String

    var isFuse: Bool { type == "fuse" || type.hasPrefix("fuse.") || type == "fuseblk" }
    var isHalite: Bool { type == "fuse.halite" }
  }

  /// In the order of mounting: of several at one place the last is the one that shows.
  var entries: [Entry]

  init(parsing text: String) {
    entries = text.split(separator: "\n").compactMap(Self.entry)
  }

  static func read() -> MountTable {
    MountTable(parsing: SmallFile.read("/proc/self/mountinfo") ?? "")
  }

  func last(at point: String) -> Entry? {
    entries.last { $0.point == point }
  }

  /// `36 35 0:42 / /mnt rw,noatime master:1 - fuse.halite halite rw,user_id=0`; there may be any
  /// number of optional fields before the lone dash.
  private static func entry(_ line: Substring) -> Entry? {
    let fields = line.split(separator: " ", omittingEmptySubsequences: false)
    guard fields.count >= 9, let dash = fields.dropFirst(6).firstIndex(of: "-"),
      fields.count > dash + 2, let colon = fields[2].firstIndex(of: ":"),
      let minor = UInt32(fields[2][fields[2].index(after: colon)...])
    else { return nil }
    return Entry(
      minor: minor,
      point: unescaped(fields[4]),
      type: String(fields[dash + 1]),
      source: unescaped(fields[dash + 2])
    )
  }

  /// Space, tab, line feed and backslash stand there as a backslash and three octal digits.
  private static func unescaped(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let code = UInt8(String(Substring(rest.prefix(3))), radix: 8)
      {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Files of /proc and /sys, whose size is not known before they are read.
enum SmallFile {
  private static let limit = 1 << 20

  /// The text of a file, up to a mebibyte; nil when it cannot be read.
  static func read(_ path: String) -> String? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 16 << 10)
    while bytes.count < limit {
      let count = Glibc.read(file, &part, part.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return count == 0 ? String(decoding: bytes, as: UTF8.self) : nil }
      bytes += part[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  static func write(_ text: String, to path: String) -> Bool {
    let file = open(path, O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    return Glibc.write(file, text, text.utf8.count) == text.utf8.count
  }
}
