import Glibc

/// The machine's monotonic clock, in nanoseconds: the same in every process, so that a duration may
/// begin in one and end in another.
enum Clock {
  static func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  static func pause(nanoseconds: Int64) {
    var time = timespec(
      tv_sec: Int(nanoseconds / 1_000_000_000),
      tv_nsec: Int(nanoseconds % 1_000_000_000)
    )
    nanosleep(&time, nil)
  }

  static func pause(until moment: Int64) {
    let left = moment - now()
    if left > 0 { pause(nanoseconds: left) }
  }
}

/// Waits for conditions.
enum Deadline {
  static func wait(
    seconds: Double,
    for what: @autoclosure () -> String,
    until condition: () throws -> Bool
  ) throws {
    let end = Clock.now() + Int64(seconds * 1e9)
    while try !condition() {
      guard Clock.now() < end else { throw Failure("waited \(seconds) s for \(what())") }
      Clock.pause(nanoseconds: 10_000_000)
    }
  }
}
