internal import CFuse3
internal import Glibc

/// What this machine offers to a mount, for `halite doctor`.
package struct FuseCapabilities: Sendable {
  package enum Level: Hashable, Sendable {
    case good
    /// It works, but slower or with fewer possibilities.
    case limited
    /// The mount cannot be made as configured.
    case broken
  }

  package struct Finding: Hashable, Sendable {
    /// What was looked at, such as `/dev/fuse`.
    package var subject: String
    package var level: Level
    package var value: String
    /// How to mend it; nil when there is nothing to mend.
    package var hint: String?
  }

  package var findings: [Finding]
  /// Whether a mount can be made at all, by ourselves or with fusermount3.
  package var canMount: Bool
  package var canPassThrough: Bool

  /// Looks, and tries passthrough for real. May take milliseconds; makes no mount anybody sees.
  package static func probe() -> FuseCapabilities {
    let deviceNumber = deviceError()
    let administers = hasSystemAdministration()
    let helper = Fusermount.path
    let passthrough = deviceNumber == nil && administers ? PassthroughProbe.run() : nil
    let mountsItself = deviceNumber == nil && administers
    return FuseCapabilities(
      findings: [
        device(deviceNumber),
        capability(administers, hasHelper: helper != nil),
        kernel(),
        self.passthrough(passthrough, administers: administers),
        allowOther(administers),
        fusermount(helper, isNeeded: !mountsItself),
      ],
      canMount: deviceNumber == nil && (administers || helper != nil),
      canPassThrough: passthrough == .works
    )
  }

  // MARK: Findings

  private static func device(_ number: Int32?) -> Finding {
    let subject = "/dev/fuse"
    switch number {
    case nil:
      return Finding(subject: subject, level: .good, value: "present and usable")
    case ENOENT, ENODEV, ENXIO:
      return Finding(
        subject: subject,
        level: .broken,
        value: "missing",
        hint: "load the kernel module (modprobe fuse); in a container pass the device on "
          + "(--device /dev/fuse)"
      )
    case .some(let number):
      return Finding(
        subject: subject,
        level: .broken,
        value: "cannot be opened: \(String(cString: strerror(number)))",
        hint: "allow everybody to read and write it, as udev does (chmod 666 /dev/fuse): it gives "
          + "no right to mount; or run as root"
      )
    }
  }

  private static func capability(_ has: Bool, hasHelper: Bool) -> Finding {
    if has { return Finding(subject: "CAP_SYS_ADMIN", level: .good, value: "present") }
    return Finding(
      subject: "CAP_SYS_ADMIN",
      level: hasHelper ? .limited : .broken,
      value: "missing",
      hint: "without it files are not passed through, so the mount is slower; run as root, or give "
        + "the service AmbientCapabilities=CAP_SYS_ADMIN, or the container --cap-add SYS_ADMIN"
    )
  }

  private static func kernel() -> Finding {
    let release = KernelRelease.running
    let isRecent = release.isAtLeast(6, 9)
    return Finding(
      subject: "kernel",
      level: isRecent ? .good : .limited,
      value: release.text,
      hint: isRecent ? nil : "Linux 6.9 and later can pass files through, which is much faster"
    )
  }

  private static func passthrough(
    _ outcome: PassthroughProbe.Outcome?,
    administers: Bool
  ) -> Finding {
    let subject = "passthrough"
    switch outcome {
    case .works:
      return Finding(subject: subject, level: .good, value: "works")
    case .notOffered:
      return Finding(
        subject: subject,
        level: .limited,
        value: "not offered by the kernel",
        hint: "it needs Linux 6.9 with CONFIG_FUSE_PASSTHROUGH; the mount works without, slower"
      )
    case .failed(let number):
      return Finding(
        subject: subject,
        level: .limited,
        value: "fails: \(String(cString: strerror(number)))",
        hint: "it needs CAP_SYS_ADMIN in the first user namespace; the mount works without, slower"
      )
    case nil:
      return Finding(
        subject: subject,
        level: .limited,
        value: "not tried",
        hint: administers ? "see /dev/fuse above" : "it needs CAP_SYS_ADMIN"
      )
    }
  }

  private static func allowOther(_ administers: Bool) -> Finding {
    let subject = "allow-other"
    if geteuid() == 0 || administers {
      return Finding(subject: subject, level: .good, value: "possible")
    }
    let lines = (SmallFile.read("/etc/fuse.conf") ?? "").split(separator: "\n")
    let isAllowed = lines.contains { line in
      line.split(whereSeparator: \.isWhitespace).elementsEqual(["user_allow_other"])
    }
    return Finding(
      subject: subject,
      level: isAllowed ? .good : .limited,
      value: isAllowed ? "possible" : "not allowed to this user",
      hint: isAllowed ? nil : "for fuse.allow-other, add a line user_allow_other to /etc/fuse.conf"
    )
  }

  private static func fusermount(_ path: String?, isNeeded: Bool) -> Finding {
    if let path { return Finding(subject: "fusermount3", level: .good, value: path) }
    return Finding(
      subject: "fusermount3",
      level: isNeeded ? .broken : .good,
      value: isNeeded ? "missing" : "missing, and not needed",
      hint: isNeeded ? "install it (Debian and Ubuntu: apt install fuse3)" : nil
    )
  }

  // MARK: Looking

  private static func deviceError() -> Int32? {
    let device = open("/dev/fuse", O_RDWR | O_CLOEXEC)
    if device < 0 { return errno }
    close(device)
    return nil
  }

  /// Bit 21 of the effective capabilities (capabilities(7)).
  private static func hasSystemAdministration() -> Bool {
    let status = SmallFile.read("/proc/self/status") ?? ""
    for line in status.split(separator: "\n") where line.hasPrefix("CapEff:") {
      let value = line.split(whereSeparator: \.isWhitespace).last ?? ""
      return (UInt64(value, radix: 16) ?? 0) & 1 << 21 != 0
    }
    return false
  }
}
