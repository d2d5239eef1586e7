import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Output for the person at the other end, if there is one.
enum Terminal {
  static var isWatched: Bool { isatty(STDERR_FILENO) == 1 }

  static func complain(_ message: String) {
    try? FileHandle.standardError.write(contentsOf: Data((message + "\n").utf8))
  }

  /// Writes to standard output as it is.
  static func write(_ text: String) {
    do {
      try FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
    } catch {
      // A closed pipe (`halite … | head`): nobody reads any more.
      ExitStatus.end(ExitStatus.failure)
    }
  }
}

/// A progress bar for what takes longer than two seconds, when a person watches.
struct ProgressBar {
  private let title: String
  private let started = ContinuousClock.now
  private var shown: ContinuousClock.Instant?
  private static let patience = Duration.seconds(2)
  private static let interval = Duration.milliseconds(200)
  private static let width = 40

  init(_ title: String) { self.title = title }

  mutating func update(_ done: Int64, of total: Int64) {
    let now = ContinuousClock.now
    guard Terminal.isWatched, now - started > Self.patience,
      shown.map({ now - $0 > Self.interval }) ?? true
    else { return }
    shown = now
    let part = total > 0 ? min(1, Double(done) / Double(total)) : 0
    let filled = Int(part * Double(Self.width))
    let bar =
      String(repeating: "#", count: filled) + String(repeating: ".", count: Self.width - filled)
    draw("\r\(title) [\(bar)] \(Int(part * 100)) %, \(done >> 20) of \(total >> 20) MiB")
  }

  /// Takes the bar away again.
  func finish() {
    if shown != nil { draw("\r\u{1b}[K") }
  }

  private func draw(_ text: String) {
    try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
  }
}
