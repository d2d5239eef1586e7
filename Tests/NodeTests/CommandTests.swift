import Foundation
import Testing

@testable import Node

@Suite struct CommandTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  @Test func theStatusForPeople() {
    var status = FakeNode.example
    status.waiting = ["commit of app.db: waits for the disk"]
    #expect(
      StatusReport.text(status) == """
        node1  primary  ready
        primary   node1
        cluster   halite-test, term 3
        log       committed 12, applied 11, lag 0 ms
        version   1.2.3, up 5 s

        DATABASE  TXID              CHECKSUM          PAGES  SIZE  JOURNAL
        app.db    000000000000000c  8000000000000001  7      4096  wal

        PEER   ROLE     CONNECTED  LAG   ENTRY
        node2  replica  yes        4 ms  11
        node3  replica  no         -     0

        WAITING
        commit of app.db: waits for the disk

        """
    )
  }

  @Test func onlyACompleteDatabaseIsImported() throws {
    let file = try directory.write("a.db", "SQLite format 3\0rest")
    let (handle, size) = try DatabaseFiles.openSource(file)
    #expect(size == 20)
    #expect(try handle.readToEnd()?.count == 20)
    try handle.close()
    for suffix in ["-wal", "-journal"] {
      try directory.write("a.db" + suffix, "")
      _ = try DatabaseFiles.openSource(file)
      try directory.write("a.db" + suffix, "x")
      #expect(throws: ControlError.self) { try DatabaseFiles.openSource(file) }
      // A journal that is done with.
      try directory.write("a.db" + suffix, "\0\0x")
      _ = try DatabaseFiles.openSource(file)
      try FileManager.default.removeItem(atPath: file + suffix)
    }
    #expect(throws: ControlError.self) { try DatabaseFiles.openSource(directory.path + "/none") }
    let other = try directory.write("b.db", "SQLite format 2\0")
    #expect(throws: ControlError.self) { try DatabaseFiles.openSource(other) }
  }

  @Test func anExportReplacesTheWholeFile() throws {
    let file = try directory.write("a.db", "old")
    try directory.write("a.db-wal", "old")
    let broken = try ExportTarget(file)
    try broken.write([1, 2])
    broken.cancel()
    #expect(try String(contentsOfFile: file, encoding: .utf8) == "old")
    let target = try ExportTarget(file)
    try target.write([1, 2])
    try target.write([3])
    try target.finish()
    #expect(try Data(contentsOf: URL(fileURLWithPath: file)) == Data([1, 2, 3]))
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["a.db"])
    #expect(throws: ControlError.self) { try ExportTarget(directory.path + "/no/a.db") }
  }
}
