import LTX
import NIOCore
import Replication
import Store

/// Messages of each kind.
enum WireSeeds {
  static let cluster = ClusterID(rawValue: "c-1")

  static let summary = LogSummary(
    first: LogIndex(3),
    last: EntryID(term: Term(4), index: LogIndex(90)),
    terms: [
      TermStart(term: Term(1), first: LogIndex(1)), TermStart(term: Term(4), first: LogIndex(40)),
    ]
  )

  static let position = Position(txid: TXID(9), checksum: Checksum(rawValue: Checksum.flag | 77))

  static func bytes(_ frame: Frame) -> [UInt8] {
    var buffer = ByteBuffer()
    frame.encode(into: &buffer)
    return Array(buffer.readableBytesView)
  }

  static let progress = ReplicaProgress(
    received: LogIndex(92),
    durable: LogIndex(91),
    applied: LogIndex(90),
    repairing: 1
  )

  static let messages: [Message] = handshake + snapshots + grants + others

  private static let others: [Message] = [
    .refusal(Refusal(reason: .otherCluster, text: "another cluster")),
    .entries(LogBatch(first: LogIndex(91), last: LogIndex(92), bytes: Array("entries".utf8))),
    .acknowledgement(Acknowledgement(progress: progress, snapshotBytes: 8192)),
    .heartbeat(Heartbeat(last: LogIndex(92), wallClock: 1_700_000_000_000, stamp: 5, echo: 4)),
    .goodbye(Goodbye(reason: .stopping, text: "the node stops")),
    .peerHello(PeerHello(cluster: cluster, name: "node2")),
    .peerWelcome(PeerWelcome(version: 1, features: [], cluster: cluster, name: "node1")),
    .peerMessage(Array("vote for me".utf8)),
  ]

  private static let handshake: [Message] = {
    var messages: [Message] = [
      .hello(Hello(cluster: cluster, name: "node2", wantsReset: false, log: summary))
    ]
    guard let cluster else { return messages }
    let database = DatabaseSummary(
      name: "dir/app.db",
      position: position,
      pageSize: 4096,
      pages: 12
    )
    for plan in [
      CatchUpPlan.stream(after: LogIndex(90)), .truncate(after: LogIndex(80)),
      .reset(base: summary.last),
    ] {
      messages.append(
        .welcome(
          Welcome(
            version: 1,
            features: .supported,
            cluster: cluster,
            name: "node1",
            log: summary,
            databases: [database],
            plan: plan
          )
        )
      )
    }
    return messages
  }()

  static let grantRequests: [GrantRequest] = [
    .ask(GrantID(1), database: "dir/app.db"),
    .append(GrantID(1), .transaction, payload: Array("a transaction".utf8)),
    .append(GrantID(1), .stage, payload: Array("a part".utf8)),
    .readIndex(GrantID(2)), .giveBack(GrantID(1)),
  ]

  static let grantAnswers: [GrantAnswer] = [
    .given(GrantID(1), through: LogIndex(91)), .appended(GrantID(1), LogIndex(92)),
    .refused(GrantID(1), reason: "the disk is full"), .readIndex(GrantID(2), LogIndex(92)),
    .recalled(GrantID(1)), .ended(GrantID(1), reason: "another writes"),
  ]

  private static let grants: [Message] =
    grantRequests.map(Message.grantRequest) + grantAnswers.map(Message.grantAnswer)

  private static let snapshots: [Message] = [
    .snapshotRequest(
      SnapshotRequest(
        id: 1,
        database: "app.db",
        isLast: true,
        checksums: [Checksum(rawValue: Checksum.flag | 1), .none]
      )
    ),
    .snapshotBegin(
      1,
      SnapshotBegin(
        database: "app.db",
        index: LogIndex(92),
        pageSize: 512,
        pages: 3,
        differing: 2
      )
    ),
    .snapshotPages(
      1,
      [
        SnapshotPage(number: PageNumber(1), bytes: [UInt8](repeating: 1, count: 512)),
        SnapshotPage(number: PageNumber(3), bytes: [UInt8](repeating: 3, count: 512)),
      ]
    ),
    .snapshotEnd(1, SnapshotEnd(index: LogIndex(95), position: position, pages: 3)),
    .snapshotFailure(1, SnapshotFailure(reason: .notFound, text: "no such database")),
  ]
}
