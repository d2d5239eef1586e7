import Foundation
import Testing

@testable import Node

/// How far the scrub is and what it found, wherever a node tells of itself.
@Suite struct ScrubStatusTests {
  private var status: NodeStatus {
    var status = FakeNode.example
    status.databases[0].problem = "page 21 is not what was committed"
    status.databases[0].damagedPages = [21, 22]
    status.scrub = NodeStatus.Scrub(
      database: "app.db",
      page: 5,
      pages: 7,
      scrubbedPages: 12,
      scrubbedBytes: 49_152,
      damagedPages: 2,
      passes: 1,
      lastPass: 1_767_225_600_500
    )
    return status
  }

  @Test func asJSON() throws {
    let line = String(decoding: try StatusJSON.line(status), as: UTF8.self)
    #expect(line.contains("\"damaged_pages\":[21,22]"))
    #expect(
      line.contains(
        "\"scrub\":{\"damaged_pages\":2,\"database\":\"app.db\",\"last_pass_ms\":1767225600500,"
          + "\"page\":5,\"pages\":7,\"passes\":1,\"scrubbed_bytes\":49152,\"scrubbed_pages\":12}"
      ),
      "\(line)"
    )
    #expect(try JSONDecoder().decode(NodeStatus.self, from: Data(line.utf8)) == status)
    // A node without the scrub, or of a version before it, says nothing.
    let without = String(decoding: try StatusJSON.line(FakeNode.example), as: UTF8.self)
    #expect(!without.contains("scrub") && !without.contains("damaged"))
    #expect(
      try JSONDecoder().decode(NodeStatus.self, from: Data(without.utf8)) == FakeNode.example
    )
  }

  @Test func asMetrics() {
    let lines = StatusMetrics.text(status, isReady: true).split(separator: "\n")
    for line in [
      "# TYPE halite_scrub_pages_total counter", "halite_scrub_pages_total 12",
      "halite_scrub_bytes_total 49152", "halite_scrub_damaged_pages_total 2",
      "halite_scrub_passes_total 1", "halite_scrub_last_pass_timestamp_seconds 1767225600.5",
      "halite_scrub_position_pages{db=\"app.db\"} 5", "halite_db_damaged_pages{db=\"app.db\"} 2",
    ] { #expect(lines.contains(Substring(line)), "\(line)") }
    let without = StatusMetrics.text(FakeNode.example, isReady: true)
    #expect(!without.contains("scrub") && !without.contains("damaged"))
  }

  @Test func forPeople() {
    let text = StatusReport.text(status)
    #expect(
      text.contains(
        "scrub     page 5 of 7 in app.db, last pass 2026-01-01T00:00:00.500Z, 2 damaged pages found\n"
      ),
      "\(text)"
    )
    #expect(text.contains("wal      page 21 is not what was committed"))
  }

  @Test func theRate() {
    #expect(ScrubService.time(for: 1 << 20, rate: 8 << 20) == .milliseconds(125))
    #expect(ScrubService.time(for: 1, rate: 1) == .seconds(1))
    #expect(ScrubService.time(for: .max, rate: 1) == .seconds(3600))
  }
}
