internal import Glibc

/// Where and how to mount.
package struct FuseMountConfiguration: Sendable {
  /// The mount point, absolute; made when it is missing.
  package var directory: String
  /// Whether users other than the daemon's own may use the mount.
  package var allowOther: Bool
  /// Whether the kernel may serve opened files itself where it can.
  package var passthrough: Bool
  /// Whether idle processors are kept awake while applications keep the mount busy; nil where that is
  /// the machine's size to decide.
  package var lowLatency: Bool?
  /// Threads for requests that have to wait for the disk.
  package var workers: Int

  package init(
    directory: String,
    allowOther: Bool = false,
    passthrough: Bool = true,
    lowLatency: Bool? = nil,
    workers: Int = 4
  ) {
    self.directory = directory
    self.allowOther = allowOther
    self.passthrough = passthrough
    self.lowLatency = lowLatency
    self.workers = workers
  }

  /// Processors of a machine that are kept awake without being told to: beyond, it takes too much power
  /// for one application's sake.
  private static let fewProcessors = 8

  var isLowLatency: Bool {
    lowLatency ?? (sysconf(Int32(_SC_NPROCESSORS_ONLN)) <= Self.fewProcessors)
  }
}
