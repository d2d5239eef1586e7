/// Where and how to mount.
package struct FuseMountConfiguration: Sendable {
  /// The mount point, absolute; made when it is missing.
  package var directory: String
  /// Whether users other than the daemon's own may use the mount.
  package var allowOther: Bool
  /// Whether the kernel may serve opened files itself where it can.
  package var passthrough: Bool
  /// Threads for requests that have to wait for the disk.
  package var workers: Int

  package init(
    directory: String,
    allowOther: Bool = false,
    passthrough: Bool = true,
    workers: Int = 4
  ) {
    self.directory = directory
    self.allowOther = allowOther
    self.passthrough = passthrough
    self.workers = workers
  }
}
