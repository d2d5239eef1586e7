import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// The clocks: leases count on one that never jumps, certificates and lag on the time of day.
enum ClockExamination {
  /// 2025-01-01; a machine that thinks it is earlier has lost its clock.
  private static let earliest: TimeInterval = 1_735_689_600
  /// How far the two steady clocks may part while they are read.
  private static let tolerance = Duration.milliseconds(100)

  static func findings() -> [DoctorFinding] { [time(), boot(), synchronization()] }

  private static func time() -> DoctorFinding {
    let now = Date().timeIntervalSince1970
    let text = Timestamps.text(milliseconds: Int64(now) * 1000)
    guard now >= earliest else {
      return DoctorFinding(
        "time of day",
        .fail,
        text,
        remedy: "set the clock; certificates are not valid at that time"
      )
    }
    return DoctorFinding("time of day", .ok, text)
  }

  /// On Linux `ContinuousClock` is `CLOCK_BOOTTIME` and `SuspendingClock` is `CLOCK_MONOTONIC`.
  private static func boot() -> DoctorFinding {
    let boot = ContinuousClock.now
    let awake = SuspendingClock.now
    // Some real work, so that a clock that stands still is noticed.
    _ = MountTable.read()
    let bootPassed = ContinuousClock.now - boot
    let awakePassed = SuspendingClock.now - awake
    guard bootPassed > .zero, awakePassed > .zero, bootPassed - awakePassed < tolerance,
      awakePassed - bootPassed < tolerance
    else {
      return DoctorFinding(
        "CLOCK_BOOTTIME",
        .fail,
        "does not count as it should",
        remedy: "the kernel or the sandbox lacks it; run on a plain Linux kernel"
      )
    }
    return DoctorFinding("CLOCK_BOOTTIME", .ok, "counts")
  }

  private static func synchronization() -> DoctorFinding {
    let subject = "clock synchronization"
    switch kernelTimeState() {
    case nil:
      return DoctorFinding(
        subject,
        .warn,
        "cannot be asked here",
        remedy: "make sure that the machine runs chrony or systemd-timesyncd"
      )
    case unsynchronized?:
      return DoctorFinding(
        subject,
        .warn,
        "the kernel says it is not synchronized",
        remedy: "run chrony or systemd-timesyncd; lag is shown wrong by what clocks differ"
      )
    case _?:
      return DoctorFinding(subject, .ok, "synchronized")
    }
  }

  /// `TIME_ERROR` of adjtimex(2).
  private static let unsynchronized: Int32 = 5
  /// More than `struct timex` has on any platform.
  private static let timexBytes = 512

  /// What adjtimex(2) returns when it is only asked; nil where it cannot be.
  ///
  /// The call is not in Swift's map of the C library, so it is looked up by name. A structure of
  /// zeros asks for nothing to be changed.
  private static func kernelTimeState() -> Int32? {
    typealias Function = @convention(c) (UnsafeMutableRawPointer) -> Int32
    guard let symbol = dlsym(nil, "adjtimex") else { return nil }
    let adjtimex = unsafeBitCast(symbol, to: Function.self)
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: timexBytes, alignment: 16)
    defer { buffer.deallocate() }
    buffer.initializeMemory(as: UInt8.self, repeating: 0, count: timexBytes)
    let state = adjtimex(buffer)
    return state < 0 ? nil : state
  }
}
