import LTX
import NIOCore
import Replication
import Store

/// A generator of the same numbers for the same seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// Messages of each kind.
enum Samples {
  static let cluster = clusterID("c-1")

  static let summary = LogSummary(
    first: LogIndex(3),
    last: EntryID(term: Term(4), index: LogIndex(90)),
    terms: [
      TermStart(term: Term(1), first: LogIndex(1)), TermStart(term: Term(4), first: LogIndex(40)),
    ]
  )

  static let messages: [Message] =
    others + grantRequests.map(Message.grantRequest) + grantAnswers.map(Message.grantAnswer)

  /// One of each case.
  static let grantRequests: [GrantRequest] = [
    .ask(GrantID(7), database: "dir/app.db"),
    .giveBack(GrantID(7)),
    .append(GrantID(.max), .transaction, payload: Array("a transaction".utf8)),
    .append(GrantID(8), .stage, payload: Array("a part".utf8)),
    .append(GrantID(8), .stagedTransaction, payload: [0]),
    .readIndex(GrantID(9)),
  ]

  /// One of each case.
  static let grantAnswers: [GrantAnswer] = [
    .given(GrantID(7), through: LogIndex(92)),
    .recalled(GrantID(7)),
    .ended(GrantID(.max), reason: "another node writes"),
    .appended(GrantID(8), LogIndex(93)),
    .refused(GrantID(8), reason: ""),
    .readIndex(GrantID(9), .zero),
    .readIndex(GrantID(10), LogIndex(94)),
  ]

  private static let others: [Message] = [
    .hello(
      Hello(
        cluster: ClusterID(rawValue: "c-1"),
        name: "node2",
        wantsReset: false,
        log: summary
      )
    ),
    .welcome(
      Welcome(
        version: 1,
        features: [],
        cluster: cluster,
        name: "node1",
        log: summary,
        databases: [
          DatabaseSummary(
            name: "dir/app.db",
            position: Position(txid: TXID(9), checksum: Checksum(rawValue: Checksum.flag | 77)),
            pageSize: 4096,
            pages: 12
          )
        ],
        plan: .truncate(after: LogIndex(80))
      )
    ),
    .refusal(Refusal(reason: .otherCluster, text: "another cluster")),
    .entries(
      LogBatch(first: LogIndex(91), last: LogIndex(92), bytes: Array("two entries".utf8))
    ),
    .acknowledgement(
      Acknowledgement(
        progress: ReplicaProgress(
          received: LogIndex(92),
          durable: LogIndex(91),
          applied: LogIndex(90),
          repairing: 1
        ),
        snapshotBytes: 8_192
      )
    ),
    .heartbeat(Heartbeat(last: LogIndex(92), wallClock: 1_700_000_000_000, stamp: 5, echo: 4)),
    .snapshotRequest(
      SnapshotRequest(
        id: 7,
        database: "app.db",
        isLast: true,
        checksums: [Checksum(rawValue: Checksum.flag | 1), .none]
      )
    ),
    .snapshotBegin(
      7,
      SnapshotBegin(
        database: "app.db",
        index: LogIndex(92),
        pageSize: 512,
        pages: 3,
        differing: 2
      )
    ),
    .snapshotPages(
      7,
      [
        SnapshotPage(number: PageNumber(1), bytes: [UInt8](repeating: 1, count: 512)),
        SnapshotPage(number: PageNumber(3), bytes: [UInt8](repeating: 3, count: 512)),
      ]
    ),
    .snapshotEnd(
      7,
      SnapshotEnd(
        index: LogIndex(95),
        position: Position(txid: TXID(10), checksum: .empty),
        pages: 3
      )
    ),
    .snapshotFailure(7, SnapshotFailure(reason: .notFound, text: "no such database")),
    .goodbye(Goodbye(reason: .stopping, text: "the node stops")),
    .peerHello(PeerHello(cluster: cluster, name: "node2")),
    .peerWelcome(PeerWelcome(version: 1, features: [], cluster: nil, name: "node1")),
    .peerMessage(Array("vote for me".utf8)),
  ]

  static func bytes(of frame: Frame) -> [UInt8] {
    var buffer = ByteBuffer()
    frame.encode(into: &buffer)
    return Array(buffer.readableBytesView)
  }
}

/// A cluster id from text that is known to be one.
func clusterID(_ text: String) -> ClusterID {
  guard let id = ClusterID(rawValue: text) else { preconditionFailure("not a cluster id: \(text)") }
  return id
}

extension Samples {
  /// A frame around any payload, with a right checksum.
  static func sealed(type: UInt8, term: UInt64, payload: [UInt8]) -> [UInt8] {
    var value: UInt64 = 0xcbf2_9ce4_8422_2325
    func mix(_ word: UInt64) { value = (value ^ word) &* 0x0000_0100_0000_01b3 }
    let length = UInt32(17 + payload.count)
    mix(UInt64(length) << 8 | UInt64(type))
    mix(term)
    for start in stride(from: 0, to: payload.count, by: 8) {
      var word: UInt64 = 0
      for place in start..<min(start + 8, payload.count) {
        word |= UInt64(payload[place]) << UInt64(8 * (place - start))
      }
      mix(word)
    }
    var buffer = ByteBuffer()
    buffer.writeInteger(length)
    buffer.writeInteger(type)
    buffer.writeInteger(term)
    buffer.writeInteger(value)
    buffer.writeBytes(payload)
    return Array(buffer.readableBytesView)
  }
}
