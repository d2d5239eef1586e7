import Foundation
import Logging
import Synchronization
import Testing

@testable import Node

@Suite struct LoggingTests {
  private final class Lines: Sendable {
    let all = Mutex<[String]>([])
  }

  private func logger(
    _ format: LogConfiguration.Format,
    _ level: LogConfiguration.Level = .info
  ) -> (Logger, Lines) {
    let lines = Lines()
    let handler = NodeLogHandler(
      label: "halite.test",
      configuration: LogConfiguration(format: format, level: level),
      write: { line in lines.all.withLock { $0.append(line) } },
      now: { 1_700_000_000_123 }
    )
    return (Logger(label: "halite.test") { _ in handler }, lines)
  }

  @Test func textIsForPeople() {
    var (logger, lines) = logger(.text)
    logger[metadataKey: "node"] = "node1"
    logger.info("database imported", metadata: ["db": "a b.db", "count": "\(3)"])
    logger.debug("not shown")
    logger.error("forged\nline", metadata: ["x": "a\"b\u{1b}[31m"])
    #expect(
      lines.all.withLock { $0 } == [
        "2023-11-14T22:13:20.123Z info    database imported count=3 db=\"a b.db\" node=node1\n",
        "2023-11-14T22:13:20.123Z error   forged\\nline node=node1 x=\"a\\\"b\\u001b[31m\"\n",
      ]
    )
  }

  @Test func jsonIsForMachines() throws {
    let (logger, lines) = logger(.json, .trace)
    logger.trace(
      "quote \" and \u{0} and \u{2028}",
      metadata: [
        "n": .stringConvertible(7), "b": .stringConvertible(true), "level": "mine",
        "list": .array(["x", .dictionary(["k": "v"])]),
        "long": "\(String(repeating: "y", count: 9000))",
      ]
    )
    let line = try #require(lines.all.withLock { $0.first })
    #expect(line.count < 5000 && line.hasSuffix("}\n") && line.count { $0.isNewline } == 1)
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
    )
    #expect(object["time"] as? String == "2023-11-14T22:13:20.123Z")
    #expect(object["level"] as? String == "trace")
    #expect(object["label"] as? String == "halite.test")
    #expect(object["message"] as? String == "quote \" and \u{0} and \u{2028}")
    #expect(object["n"] as? Int == 7)
    #expect(object["b"] as? Bool == true)
    #expect(object["_level"] as? String == "mine")
    #expect((object["list"] as? [Any])?.count == 2)
  }

  @Test(arguments: [
    (Int64(0), "1970-01-01T00:00:00.000Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
    (-1, "1969-12-31T23:59:59.999Z"), (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
    (Int64.max, "9999-12-31T23:59:59.999Z"), (Int64.min, "0000-01-01T00:00:00.000Z"),
  ])
  func times(milliseconds: Int64, text: String) {
    #expect(Timestamps.text(milliseconds: milliseconds) == text)
  }
}
