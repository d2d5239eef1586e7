import Foundation

/// Watches a replica come to the primary's position, by the `-pos` files of a database.
enum Following {
  private static let pauseNanoseconds: Int64 = 1_000_000
  private static let patienceSeconds: Int64 = 120

  struct Outcome: Codable {
    /// When the replica was first seen to move, and at which transaction it was then.
    var movedAt: Int64
    var movedTo: UInt64
    /// When it was at the primary's position.
    var arrivedAt: Int64
    var arrivedTo: UInt64

    /// Transactions a second once it moved; nil when one look saw it all.
    var rate: Double? {
      guard arrivedAt > movedAt, arrivedTo > movedTo else { return nil }
      return Double(arrivedTo - movedTo) / (Double(arrivedAt - movedAt) / 1e9)
    }
  }

  /// Waits in a child process for a replica to have what the primary has of a database.
  @discardableResult
  static func wait(_ database: String, _ primary: Node, _ replica: Node) throws -> Outcome {
    try Child.work(
      ["follow", "\(primary.mount)/\(database)-pos", "\(replica.mount)/\(database)-pos"],
      seconds: Double(patienceSeconds) + 10,
      as: Outcome.self
    )
  }

  /// - Parameters:
  ///   - primary: the primary's `<database>-pos`, which must not change meanwhile.
  ///   - replica: the replica's; it need not be there yet, nor its mount.
  static func run(primary: String, replica: String) throws -> Outcome {
    guard let goal = position(primary), let last = transaction(goal) else {
      throw Failure("\(primary) is not a position")
    }
    let end = Clock.now() + patienceSeconds * 1_000_000_000
    var first: String?
    var moved: (at: Int64, to: UInt64)?
    while true {
      let now = position(replica)
      let moment = Clock.now()
      if let now, let to = transaction(now) {
        if first == nil { first = now }
        if moved == nil, now != first || now == goal { moved = (moment, to) }
      }
      if now == goal {
        return Outcome(
          movedAt: moved?.at ?? moment,
          movedTo: moved?.to ?? last,
          arrivedAt: moment,
          arrivedTo: last
        )
      }
      guard moment < end else {
        throw Failure(
          "the replica is at \(now ?? "nothing") after \(patienceSeconds) s, not \(goal)"
        )
      }
      Clock.pause(nanoseconds: pauseNanoseconds)
    }
  }

  /// As `0000000000001a2b/8123456789abcdef`.
  private static func position(_ path: String) -> String? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    let line = text.trimmingCharacters(in: .whitespacesAndNewlines)
    return line.isEmpty ? nil : line
  }

  private static func transaction(_ position: String) -> UInt64? {
    UInt64(position.prefix { $0 != "/" }, radix: 16)
  }
}
