internal import Glibc

/// A connection between a FUSE mount and its daemon, as the kernel shows it to others
/// (Documentation/filesystems/fuse.rst, "Control filesystem").
struct FuseConnection: Sendable {
  private static let control = "/sys/fs/fuse/connections"

  /// The minor device number of the mount.
  let number: UInt32

  /// Breaks the connection off: every request that waits fails, and so does every later one.
  func abort() -> Bool {
    let switchFile = "\(Self.control)/\(number)/abort"
    if SmallFile.write("1", to: switchFile) { return true }
    // The control file system is not mounted everywhere; containers often lack it.
    guard access(switchFile, F_OK) != 0 else { return false }
    guard mount("fusectl", Self.control, "fusectl", 0, nil) == 0 else { return false }
    return SmallFile.write("1", to: switchFile)
  }

  /// Processes that have the connection open and could still answer. Nil when that cannot be told:
  /// the kernel says which descriptor belongs to which connection only since Linux 6.16 or so.
  func livingServers() -> [Int32]? {
    guard let processes = names(in: "/proc") else { return nil }
    var living: [Int32] = []
    for process in processes.compactMap({ Int32($0) }) {
      for descriptor in names(in: "/proc/\(process)/fd") ?? [] {
        let path = "/proc/\(process)/fd/\(descriptor)"
        guard linkTarget(path) == "/dev/fuse" else { continue }
        guard let number = connectionNumber(process, descriptor) else { return nil }
        if number == self.number, !isDying(process) { living.append(process) }
      }
    }
    return living
  }

  private func connectionNumber(_ process: Int32, _ descriptor: String) -> UInt32? {
    guard let text = SmallFile.read("/proc/\(process)/fdinfo/\(descriptor)") else { return nil }
    for line in text.split(separator: "\n") where line.hasPrefix("fuse_connection:") {
      return line.split(whereSeparator: \.isWhitespace).last.flatMap { UInt32($0) }
    }
    return nil
  }

  /// Whether a process has been killed, though it may never get to its end: one that waits in the
  /// kernel for an answer of its own mount does not.
  private func isDying(_ process: Int32) -> Bool {
    guard let text = SmallFile.read("/proc/\(process)/status") else { return true }
    for line in text.split(separator: "\n") {
      let value = line.split(whereSeparator: \.isWhitespace).dropFirst().first ?? ""
      if line.hasPrefix("State:"), value == "Z" || value == "X" { return true }
      if line.hasPrefix("SigPnd:") || line.hasPrefix("ShdPnd:"),
        let pending = UInt64(value, radix: 16), pending & (1 << UInt64(SIGKILL - 1)) != 0
      {
        return true
      }
    }
    return false
  }

  private func names(in directory: String) -> [String]? {
    let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    return (try? BackingTree.list(descriptor))?.map(\.name).filter { !$0.hasPrefix(".") }
  }

  private func linkTarget(_ path: String) -> String? {
    var buffer = [CChar](repeating: 0, count: 64)
    let count = readlink(path, &buffer, buffer.count)
    guard count > 0 else { return nil }
    return String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
