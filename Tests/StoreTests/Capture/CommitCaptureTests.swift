import LTX
import Testing

@testable import Store

/// Real SQLite on a store, in every journal mode: after each transaction the log alone must give the
/// database byte for byte.
@Suite(.timeLimit(.minutes(15)))
struct CommitCaptureTests {
  enum Mode: String, CaseIterable, Sendable {
    case wal, delete, truncate, persist, memory, off
  }

  struct Case: Sendable, CustomStringConvertible {
    var mode: Mode
    var pageSize: Int
    var style: Workload.Style
    var seed: UInt64 = 0
    /// Whether clients write the write-ahead log by themselves.
    var isFollowed = false
    var description: String {
      "\(mode)\(isFollowed ? " followed" : "") \(pageSize) \(style) \(seed)"
    }

    /// Each mode with each style, the page sizes taking turns; and each mode with each size.
    static let all: [Case] = {
      let sizes = [512, 4096, 1024, 8192, 2048, 65_536, 16_384, 32_768]
      var cases: [Case] = []
      for mode in Mode.allCases {
        for style in Workload.Style.allCases {
          cases.append(Case(mode: mode, pageSize: sizes[cases.count % 4], style: style))
        }
        for size in sizes { cases.append(Case(mode: mode, pageSize: size, style: .mixed)) }
        // What undoes a part of itself after it ran out of cache leaves the oddest files behind.
        for seed in 1...6 {
          let styles: [Workload.Style] = [.savepoints, .mixed, .spill]
          cases.append(
            Case(
              mode: mode,
              pageSize: sizes[seed % 4],
              style: styles[seed % 3],
              seed: UInt64(seed)
            )
          )
        }
      }
      return cases
        + cases.filter { $0.mode == .wal }.map {
          var followed = $0
          followed.isFollowed = true
          return followed
        }
    }()
  }

  @Test(arguments: Case.all)
  func theLogIsTheDatabase(_ it: Case) throws {
    let seed = UInt64(it.pageSize) &* 31 &+ UInt64(it.style.rawValue.count) &+ it.seed &* 7919
    let fixture = try StoreFixture { $0.followsLogs = it.isFollowed }
    var workload = Workload(seed: seed, style: it.style, rollback: it.mode != .off)
    var connection = try fixture.connect("a.db")
    try connection.run(
      "PRAGMA page_size=\(it.pageSize); \(workload.preparation) PRAGMA journal_mode=\(it.mode)"
    )
    let rounds = it.pageSize > 8192 ? 12 : 30
    for round in 0..<rounds {
      let sql = workload.next()
      do {
        try connection.run(sql)
        #expect(connection.isAutocommit)
        try fixture.check("a.db", sql)
      } catch {
        Issue.record("\(it), seed \(seed), round \(round): \(error)\n\(sql.prefix(600))")
        return
      }
      if round % 9 == 8 {
        connection.close()
        try fixture.check("a.db", "close")
        connection = try fixture.connect("a.db")
        if it.mode != .wal { try connection.run("PRAGMA journal_mode=\(it.mode)") }
      }
      if it.mode == .wal, round % 7 == 3 {
        let kinds = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]
        try connection.run("PRAGMA wal_checkpoint(\(kinds[round / 7 % 4]))")
        try fixture.check("a.db", "checkpoint")
      }
    }
    #expect(try connection.value("PRAGMA integrity_check") == "ok")
    #expect(try connection.value("PRAGMA journal_mode") == it.mode.rawValue)
    #expect(fixture.position("a.db").txid.rawValue > UInt64(rounds / 4))
    #expect(fixture.store.database("a.db")?.published.failed == nil)
  }
}
