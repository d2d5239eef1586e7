internal import Glibc
internal import Logging
internal import Synchronization

/// Keeps idle processors from falling asleep for as long as applications keep the mount busy.
///
/// Each request wakes the thread that reads requests, and each answer wakes the application. Where the two
/// are on different processors, waking one that sleeps costs ten times the request itself, above all in a
/// virtual machine. The kernel can be told that nobody bears such a delay: by holding
/// `/dev/cpu_dma_latency` open with the value zero (Documentation/power/pm_qos_interface.rst). Idle
/// processors then spin, which takes power, so this is done only while requests come in a dense stream.
final class WakefulProcessors: Sendable {
  static let device = "/dev/cpu_dma_latency"
  /// Requests within one `step` from which on the stream is dense: 1,000 a second.
  private static let dense: UInt64 = 20
  /// How often the stream is looked at, in seconds.
  private static let step = 0.02

  private enum Phase: Sendable { case asleep, watching, stopped }

  private let phase = Condition(Phase.asleep)
  private let requests = Atomic<UInt64>(0)
  /// Whether the stream is being looked at, so that a request need not say that it is there.
  private let isWatched = Atomic(false)
  private let isHolding = Atomic(false)

  private let device: String

  /// Nil where the machine has no such device, or does not let this process use it.
  init?(device: String = WakefulProcessors.device, logger: Logger) {
    self.device = device
    guard let descriptor = Self.hold(device) else {
      logger.debug("processors cannot be kept awake", metadata: ["device": "\(device)"])
      return nil
    }
    close(descriptor)
    do {
      try NativeThread.start("halite-fuse-qos") { [self] in watch() }
    } catch { return nil }
  }

  /// Whether requests come in a dense stream just now.
  var isDense: Bool { isHolding.load(ordering: .relaxed) }

  /// A request has come.
  func note() {
    requests.add(1, ordering: .relaxed)
    guard !isWatched.load(ordering: .relaxed) else { return }
    phase.update { if $0 == .asleep { $0 = .watching } }
  }

  func stop() {
    phase.update { $0 = .stopped }
  }

  private func watch() {
    var held: Int32?
    var before: UInt64 = 0
    while true {
      let phase = phase.wait { $0 == .asleep ? nil : $0 } ?? .stopped
      guard phase == .watching else { break }
      isWatched.store(true, ordering: .relaxed)
      let isStopped = self.phase.wait(seconds: Self.step) { $0 == .stopped ? true : nil }
      if isStopped != nil { break }
      let now = requests.load(ordering: .relaxed)
      let isDense = now &- before >= Self.dense
      before = now
      if isDense {
        if held == nil { held = Self.hold(device) }
        isHolding.store(true, ordering: .relaxed)
        continue
      }
      if let descriptor = held { close(descriptor) }
      held = nil
      isHolding.store(false, ordering: .relaxed)
      isWatched.store(false, ordering: .relaxed)
      self.phase.update { if $0 == .watching { $0 = .asleep } }
    }
    if let descriptor = held { close(descriptor) }
  }

  private static func hold(_ device: String) -> Int32? {
    let descriptor = open(device, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    // Microseconds, as a native integer.
    var latency: Int32 = 0
    guard write(descriptor, &latency, MemoryLayout<Int32>.size) == MemoryLayout<Int32>.size else {
      close(descriptor)
      return nil
    }
    return descriptor
  }
}
