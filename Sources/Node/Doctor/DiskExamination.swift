import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// The disk under the data directory: is it there, has it room, is it fast and honest.
struct DiskExamination {
  let directory: String

  /// Below this a burst of writes may fill the disk.
  private static let littleSpace: Int64 = 1 << 30
  /// Below this the log cannot even begin.
  private static let tooLittleSpace: Int64 = 64 << 20
  /// A commit waits for one such write when the application asks for durability.
  private static let slowSync = Duration.milliseconds(20)
  private static let syncs = 9

  func findings() -> [DoctorFinding] {
    let subject = "data.dir"
    // What does not exist yet is judged by the directory it will be made in.
    var existing = directory
    while existing != "/", access(existing, F_OK) != 0 { existing = Paths.parent(existing) }
    guard access(existing, W_OK | X_OK) == 0 else {
      return [
        DoctorFinding(
          subject,
          .fail,
          "\(existing) may not be written by this user",
          remedy: "give \(directory) to the user who runs the node"
        )
      ]
    }
    let made = existing == directory ? "writable" : "will be made in \(existing)"
    var findings = [DoctorFinding(subject, .ok, "\(directory): \(made)")]
    if existing == directory, let finding = permissions() { findings.append(finding) }
    findings += fileSystem(existing)
    findings.append(sync(existing))
    return findings
  }

  private func permissions() -> DoctorFinding? {
    let attributes = try? FileManager.default.attributesOfItem(atPath: directory)
    let mode = (attributes?[.posixPermissions] as? NSNumber)?.intValue ?? 0
    guard mode & 0o022 != 0 else { return nil }
    return DoctorFinding(
      "data.dir mode",
      .warn,
      "others may write to \(directory)",
      remedy: "chmod go-w \(directory)"
    )
  }

  private func fileSystem(_ path: String) -> [DoctorFinding] {
    var findings: [DoctorFinding] = []
    if let entry = MountTable.entry(of: Paths.resolved(path), in: MountTable.read()) {
      findings.append(Self.judge(entry.type))
    }
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: path)
    guard let free = (attributes?[.systemFreeSize] as? NSNumber)?.int64Value else {
      return findings + [
        DoctorFinding(
          "disk space",
          .warn,
          "cannot be told",
          remedy: "check that the disk is mounted"
        )
      ]
    }
    var space = DoctorFinding("disk space", .ok, "\(Self.readable(free)) free")
    if free < Self.littleSpace {
      space.level = free < Self.tooLittleSpace ? .fail : .warn
      space.remedy = "make room: the log alone may take \"data.max-log-size\""
    }
    return findings + [space]
  }

  /// What a file system of that type means for databases.
  static func judge(_ type: String) -> DoctorFinding {
    let subject = "file system"
    let why: String
    switch type {
    case "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs":
      return DoctorFinding(subject, .ok, type)
    case "tmpfs", "ramfs":
      why = "it is gone with the next start; use a disk"
    case "overlay":
      why = "it goes with the container, and files cannot be passed through; use a volume"
    case "nfs", "nfs4", "cifs", "smb3", "9p", "ceph":
      why = "its locks and fsync are not those of a disk; use a local one"
    case _ where type == "fuse" || type.hasPrefix("fuse."):
      why = "files on it cannot be passed through; use a disk"
    default:
      why = "nobody has tried it; ext4 and xfs are known to work"
    }
    return DoctorFinding(subject, .warn, type, remedy: why)
  }

  /// The median time to make a small write durable.
  private func sync(_ path: String) -> DoctorFinding {
    let subject = "fsync"
    let file = path + "/.halite-doctor-\(getpid())"
    guard FileManager.default.createFile(atPath: file, contents: nil),
      let handle = FileHandle(forWritingAtPath: file)
    else {
      return DoctorFinding(
        subject,
        .fail,
        "no file can be made in \(path)",
        remedy: "give the directory to the user who runs the node"
      )
    }
    defer {
      try? handle.close()
      try? FileManager.default.removeItem(atPath: file)
    }
    var times: [Duration] = []
    do {
      for _ in 0..<Self.syncs {
        try handle.write(contentsOf: Data(count: 4096))
        times.append(try ContinuousClock().measure { try handle.synchronize() })
      }
    } catch {
      return DoctorFinding(
        subject,
        .fail,
        "a write in \(path) fails: \(error)",
        remedy: "check disk and quota"
      )
    }
    let median = times.sorted()[times.count / 2]
    let value = "\(Self.milliseconds(median)) ms (median of \(Self.syncs))"
    guard median > Self.slowSync else { return DoctorFinding(subject, .ok, value) }
    return DoctorFinding(
      subject,
      .warn,
      value,
      remedy: "each durable commit waits this long; use a faster disk for \"data.dir\""
    )
  }

  private static func milliseconds(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let microseconds = seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    return "\(Double(microseconds) / 1000)"
  }

  private static func readable(_ bytes: Int64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20)]
    for (name, shift) in units where bytes >= 1 << shift {
      let tenths = (bytes >> (shift - 10)) * 10 / 1024
      return "\(tenths / 10).\(tenths % 10) \(name)"
    }
    return "\(bytes) bytes"
  }
}
