import Dispatch

/// Performs work that may wait, for the disk or for somebody's lock, without ever holding up other work:
/// whoever waits may do so for what comes later.
///
/// A concurrent queue would not do. On Linux it has as many threads as there are processors, and where
/// all of them wait one more a second.
struct Workers: Sendable {
  /// Performs `work` soon, on a thread that may be blocked; there are at most 255.
  func async(_ work: @escaping @Sendable () -> Void) {
    // A serial queue gets a thread of its own wherever the others are taken.
    DispatchQueue(label: "halite.store", qos: .userInitiated).async(execute: work)
  }
}
