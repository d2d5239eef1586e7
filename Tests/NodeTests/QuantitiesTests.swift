import Testing

@testable import Node

@Suite struct QuantitiesTests {
  @Test(arguments: [
    ("0", Duration.zero), ("10m", .seconds(600)), ("2s", .seconds(2)),
    ("250ms", .milliseconds(250)),
    ("1h30m", .seconds(5400)), ("1.5s", .milliseconds(1500)), ("5us", .microseconds(5)),
    ("5µs", .microseconds(5)), ("7ns", .nanoseconds(7)),
  ])
  func durations(text: String, value: Duration) {
    #expect(Quantities.duration(text) == value)
    #expect(Quantities.duration(Quantities.text(value)) == value)
  }

  @Test(arguments: ["", "5", "m", "5x", "-1s", "1s2", "1..5s", "1e9s", "99999999999999999999h"])
  func whatIsNoDuration(text: String) {
    #expect(Quantities.duration(text) == nil)
  }

  @Test(arguments: [
    ("1GiB", Int64(1 << 30)), ("64MiB", 64 << 20), ("64MB", 64_000_000), ("1024", 1024),
    ("1k", 1024), ("2 TiB", 2 << 40), ("1.5KiB", 1536), ("7b", 7),
  ])
  func sizes(text: String, value: Int64) {
    #expect(Quantities.size(text) == value)
    #expect(Quantities.size(Quantities.text(bytes: value)) == value)
  }

  @Test(arguments: ["", "GiB", "-1", "1PiB", "9999999TiB", "1 G i B"])
  func whatIsNoSize(text: String) {
    #expect(Quantities.size(text) == nil)
  }

  @Test(arguments: [
    (":20202", "", 20_202), ("node1:20203", "node1", 20_203), ("[::1]:5", "::1", 5),
    ("127.0.0.1:0", "127.0.0.1", 0),
  ])
  func addresses(text: String, host: String, port: Int) {
    let address = SocketAddressText(text)
    #expect(address == SocketAddressText(host: host, port: port))
    #expect(address?.description == text)
  }

  @Test(arguments: ["", "node1", ":", "a:b", "a:65536", "a:-1", "::1:5", "[::1]", "[x]:1", "a b:1"])
  func whatIsNoAddress(text: String) {
    #expect(SocketAddressText(text) == nil)
  }

  @Test(arguments: [
    ("a b", ["a", "b"]), ("  ", []), ("a 'b c'", ["a", "b c"]), ("a\"b c\"d", ["ab cd"]),
    ("a\\ b", ["a b"]), ("''", [""]), ("\"a\\\"b\\x\"", ["a\"b\\x"]), ("'a\\b'", ["a\\b"]),
  ])
  func shellWords(text: String, words: [String]) {
    #expect(ShellWords.split(text) == words)
  }
}
