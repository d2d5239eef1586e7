import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// Zeros written ahead of entries that are synced one by one.
struct LogRoomTests {
  private func size(_ fixture: LogFixture, _ name: String) throws -> Int64 {
    try #require(try fixture.disk.information(fixture.path + "/" + name)).size
  }

  /// The size of the last segment once it has room, which comes after the sync has been answered.
  private func roomy(_ fixture: LogFixture, _ log: Log) throws -> Bool {
    let name = try #require(try fixture.segments().last)
    let end = log.usage().bytes
    return try eventually { try size(fixture, name) > end }
  }

  @Test func entriesAreFoundAgainAndTheRoomIsCutOff() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    try log.begin(Term(1))
    for _ in 0..<5 { try log.syncAndWait(through: try #require(try log.fill([3000]).last)) }
    #expect(try roomy(fixture, log))
    let entries = try log.all()
    // As a crash leaves it, and once more, as that start leaves it.
    for _ in 0..<2 {
      let again = try fixture.open()
      #expect(again.last == log.last)
      #expect(try again.all().map(\.payload) == entries.map(\.payload))
      let name = try #require(try fixture.segments().last)
      #expect(try size(fixture, name) == again.usage().bytes)
    }
  }

  @Test func aFullSegmentEndsWithItsLastEntry() throws {
    let fixture = try LogFixture(segmentBytes: 8000)
    let log = try fixture.open()
    try log.begin(Term(1))
    for _ in 0..<6 { try log.syncAndWait(through: try #require(try log.fill([3000]).last)) }
    let names = try fixture.segments()
    #expect(names.count > 1)
    let closed = log.usage().closed
    for (name, segment) in zip(names, closed) { #expect(try size(fixture, name) == segment.bytes) }
    #expect(try fixture.open().all().count == 7)
  }

  @Test func closingLeavesNoRoom() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    try log.begin(Term(1))
    try log.syncAndWait(through: try #require(try log.fill([10]).last))
    #expect(try roomy(fixture, log))
    log.close()
    try log.syncAndWait(through: try #require(try log.fill([10]).last))
    let name = try #require(try fixture.segments().last)
    #expect(try size(fixture, name) == log.usage().bytes)
  }

  @Test func bulkGetsNoRoom() throws {
    let fixture = try LogFixture()
    let log = try fixture.open()
    try log.begin(Term(1))
    for _ in 0..<3 { try log.syncAndWait(through: try #require(try log.fill([200_000]).last)) }
    let name = try #require(try fixture.segments().last)
    #expect(try size(fixture, name) == log.usage().bytes)
  }
}
