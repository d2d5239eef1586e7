import Dispatch

/// Performs work that may wait, for the disk or for somebody's lock, without ever holding up other work:
/// whoever waits may do so for what comes later.
///
/// A concurrent queue would not do. On Linux it has as many threads as there are processors, and where
/// all of them wait one more a second.
final class Workers: Sendable {
  private let urgent = [UrgentThread("halite-sync-1"), UrgentThread("halite-sync-2")]

  /// Performs `work` soon, on a thread that may be blocked; there are at most 255.
  func async(_ work: @escaping @Sendable () -> Void) {
    // A serial queue gets a thread of its own wherever the others are taken.
    DispatchQueue(label: "halite.store", qos: .userInitiated).async(execute: work)
  }

  /// The same for what takes little of a processor, a sync above all, and an application waits for: where few do so
  /// at once, on a thread that gets a processor before others.
  func promptly(_ work: @escaping @Sendable () -> Void) {
    for thread in urgent where thread.asyncIfIdle(work) { return }
    async(work)
  }
}
