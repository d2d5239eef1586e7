/// What voters say to each other. Who says it the link knows, by the certificate.
package struct ElectionMessage: Hashable, Sendable {
  package enum Body: Hashable, Sendable {
    /// Would you vote for me in the term after `term`?
    case preVoteRequest(round: UInt64, log: LogPosition, priority: Int64)
    case preVoteReply(round: UInt64, isGranted: Bool)
    /// `isHandOver`: the leader of the term before has given its lease up for this candidate.
    case voteRequest(log: LogPosition, isHandOver: Bool)
    case voteReply(isGranted: Bool)
    case heartbeat(sequence: UInt64)
    /// `isCandidate`: whether the voter would take the lease.
    case heartbeatReply(sequence: UInt64, log: LogPosition, isCandidate: Bool)
    /// From the leader: it has given its lease up, the receiver is to campaign at once.
    case timeoutNow
    /// To the leader: the sender wants the lease.
    case handOverRequest
  }

  /// The sender's term.
  package var term: LeaseTerm
  package var body: Body
  package init(_ term: LeaseTerm, _ body: Body) {
    self.term = term
    self.body = body
  }
}

// The encoding: version 1 (1 byte), kind (1 byte), term (8 bytes), then what the kind has, each number in 8
// bytes, big-endian.

extension ElectionMessage {
  private static let version: UInt8 = 1
  /// Terms and indices are far below; a message that names a higher one is not believed.
  private static let maxNumber: UInt64 = 1 << 62

  package func encoded() -> [UInt8] {
    var words: [UInt64] = [term.rawValue]
    let kind: UInt8
    switch body {
    case .preVoteRequest(let round, let log, let priority):
      kind = 1
      words += [round, log.term.rawValue, log.index, UInt64(bitPattern: priority)]
    case .preVoteReply(let round, let isGranted):
      kind = 2
      words += [round, isGranted ? 1 : 0]
    case .voteRequest(let log, let isHandOver):
      kind = 3
      words += [log.term.rawValue, log.index, isHandOver ? 1 : 0]
    case .voteReply(let isGranted):
      kind = 4
      words += [isGranted ? 1 : 0]
    case .heartbeat(let sequence):
      kind = 5
      words += [sequence]
    case .heartbeatReply(let sequence, let log, let isCandidate):
      kind = 6
      words += [sequence, log.term.rawValue, log.index, isCandidate ? 1 : 0]
    case .timeoutNow: kind = 7
    case .handOverRequest: kind = 8
    }
    var bytes = [Self.version, kind]
    for word in words {
      for shift in stride(from: 56, through: 0, by: -8) {
        bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
      }
    }
    return bytes
  }

  package init?(_ bytes: [UInt8]) {
    guard bytes.count >= 10, (bytes.count - 2) % 8 == 0, bytes.count <= 64,
      bytes[0] == Self.version
    else { return nil }
    let words = stride(from: 2, to: bytes.count, by: 8).map { start in
      bytes[start..<(start + 8)].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    }
    guard words[0] <= Self.maxNumber else { return nil }
    term = LeaseTerm(words[0])
    guard let body = Self.body(bytes[1], Array(words.dropFirst())) else { return nil }
    self.body = body
  }

  private static func body(_ kind: UInt8, _ words: [UInt64]) -> Body? {
    let counts: [Int] = [4, 2, 3, 1, 1, 4, 0, 0]
    guard kind >= 1, kind <= 8, words.count == counts[Int(kind) - 1] else { return nil }
    switch kind {
    case 1:
      guard let log = position(words[1], words[2]) else { return nil }
      return .preVoteRequest(round: words[0], log: log, priority: Int64(bitPattern: words[3]))
    case 2:
      guard let isGranted = truth(words[1]) else { return nil }
      return .preVoteReply(round: words[0], isGranted: isGranted)
    case 3:
      guard let log = position(words[0], words[1]), let isHandOver = truth(words[2]) else {
        return nil
      }
      return .voteRequest(log: log, isHandOver: isHandOver)
    case 4: return truth(words[0]).map { .voteReply(isGranted: $0) }
    case 5: return .heartbeat(sequence: words[0])
    case 6:
      guard let log = position(words[1], words[2]), let isCandidate = truth(words[3]) else {
        return nil
      }
      return .heartbeatReply(sequence: words[0], log: log, isCandidate: isCandidate)
    case 7: return .timeoutNow
    default: return .handOverRequest
    }
  }

  private static func truth(_ word: UInt64) -> Bool? { word <= 1 ? word == 1 : nil }

  private static func position(_ term: UInt64, _ index: UInt64) -> LogPosition? {
    guard term <= maxNumber, index <= maxNumber else { return nil }
    return LogPosition(term: LeaseTerm(term), index: index)
  }
}
