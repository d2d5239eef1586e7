#if os(Linux)
  import Glibc

  // Linux's own numbers (linux/fcntl.h and asm-generic/fcntl.h), which the C library shows only to
  // programs that ask for its extensions.
  private let setLease: Int32 = 1024
  private let setLeaseSignal: Int32 = 10

  extension SystemDisk {
    package func detachIfOpen(
      _ path: String,
      through temporary: String
    ) throws(StoreError) -> Bool {
      let file = try open(path, [])
      guard isOpenElsewhere(file) else { return false }
      var status = stat()
      guard fstat(file.descriptor, &status) == 0 else {
        throw systemError(errno, "cannot inspect \(path)")
      }
      do throws(StoreError) {
        try replace(path, file, status, through: temporary)
      } catch {
        // It may be what the disk has no room for.
        try? remove(temporary)
        throw error
      }
      return true
    }

    private func replace(
      _ path: String,
      _ file: any DiskFile,
      _ status: stat,
      through temporary: String
    ) throws(StoreError) {
      let copy = try open(temporary, [.write, .create, .truncate])
      try Self.copy(Int64(status.st_size), from: file, to: copy)
      guard fchmod(copy.descriptor, status.st_mode & 0o7777) == 0 else {
        throw systemError(errno, "cannot set the permissions of \(temporary)")
      }
      try giveOwner(of: status, to: temporary)
      try copy.sync()
      try rename(temporary, to: path)
      if let parent = parentDirectory(path) { try syncDirectory(parent) }
    }

    /// Whether somebody else has the file open, be it through a mount that is gone: the kernel grants a
    /// lease for writing only on a file that nobody else has open (fcntl(2), F_SETLEASE). True where it
    /// cannot be told, since the file is another user's and CAP_LEASE is missing; false on file systems
    /// without leases.
    private func isOpenElsewhere(_ file: any DiskFile) -> Bool {
      // Whoever opens the file while the lease is held makes the kernel send a signal, which by default
      // ends the process; this one by default does nothing.
      guard fcntl(file.descriptor, setLeaseSignal, SIGURG) == 0 else { return false }
      guard fcntl(file.descriptor, setLease, Int32(F_WRLCK)) == 0 else {
        return errno == EAGAIN || errno == EACCES
      }
      _ = fcntl(file.descriptor, setLease, Int32(F_UNLCK))
      return false
    }

    private static func copy(
      _ size: Int64,
      from source: any DiskFile,
      to target: any DiskFile
    ) throws(StoreError) {
      let step: Int64 = 1 << 20
      var offset: Int64 = 0
      while offset < size {
        let bytes = try source.readBytes(Int(min(step, size - offset)), at: offset)
        // Shorter than it was.
        guard !bytes.isEmpty else { return }
        try target.writeAll(bytes, at: offset)
        offset += Int64(bytes.count)
      }
    }
  }
#endif
