#if os(Linux)
  import Glibc

  // Linux's own numbers (linux/fs.h: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL).
  private let getFlags: UInt = 0x8008_6601
  private let setFlags: UInt = 0x4008_6602
  private let immutable: Int = 0x10

  /// Stopping programs that still have a file open through a mount that is gone, by the flag that makes a file
  /// immutable (ioctl_iflags(2)). ext4 and f2fs then refuse writes through every descriptor; the flag needs
  /// CAP_LINUX_IMMUTABLE.
  extension SystemDisk {
    package func stopWrites(_ path: String) throws(StoreError) -> Bool {
      Self.setImmutable(true, try open(path, []))
    }

    package func removeStopping(_ path: String) throws(StoreError) {
      let file = try open(path, [])
      _ = Self.setImmutable(false, file)
      try remove(path)
      _ = Self.setImmutable(true, file)
    }

    package func canStopWrites(_ directory: String) -> Bool {
      let path = directory + "/stop.tmp"
      // It may have been left, stopped, by a process that was killed.
      try? removeStopping(path)
      guard let file = try? open(path, [.write, .create]) else { return false }
      let isStopped = Self.setImmutable(true, file)
      let byte: [UInt8] = [1]
      let isRefused = (try? file.writeAll(byte, at: 0)) == nil
      try? removeStopping(path)
      return isStopped && isRefused
    }

    private static func setImmutable(_ isImmutable: Bool, _ file: any DiskFile) -> Bool {
      var flags = 0
      guard ioctl(file.descriptor, getFlags, &flags) == 0 else { return false }
      if (flags & immutable != 0) == isImmutable { return true }
      flags = isImmutable ? flags | immutable : flags & ~immutable
      return ioctl(file.descriptor, setFlags, &flags) == 0
    }
  }
#endif
