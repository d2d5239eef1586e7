import Foundation
import Logging
import Testing

@testable import FuseFS

@Suite(.serialized, .timeLimit(.minutes(1)))
struct WakefulProcessorsTests {
  private static let limit = 10.0

  /// Whether this process has the file open.
  private func isHeld(_ path: String) throws -> Bool {
    let descriptors = "/proc/self/fd"
    return try FileManager.default.contentsOfDirectory(atPath: descriptors).contains { name in
      let target = try? FileManager.default.destinationOfSymbolicLink(
        atPath: descriptors + "/" + name
      )
      return target == path
    }
  }

  /// Sends requests at a steady pace until the device is, or is not, held.
  private func send(
    _ processors: WakefulProcessors,
    everyMicroseconds pause: UInt32,
    until wanted: Bool,
    _ path: String
  ) throws -> Bool {
    let deadline = ContinuousClock.now + .seconds(Self.limit)
    while ContinuousClock.now < deadline {
      if try isHeld(path) == wanted { return true }
      processors.note()
      usleep(pause)
    }
    return false
  }

  @Test func heldWhileRequestsAreDense() throws {
    let path = NSTemporaryDirectory() + "halite-qos-\(UUID().uuidString)"
    try Data().write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    let logger = Logger(label: "test")
    let processors = try #require(WakefulProcessors(device: path, logger: logger))
    #expect(try !isHeld(path))
    for _ in 0..<2 {
      #expect(try send(processors, everyMicroseconds: 100, until: true, path))
      #expect(try send(processors, everyMicroseconds: 30_000, until: false, path))
    }
    #expect(try send(processors, everyMicroseconds: 100, until: true, path))
    processors.stop()
    #expect(try send(processors, everyMicroseconds: 100, until: false, path))
    // What it says is the longest delay allowed: none.
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(count: 4))
  }

  @Test func aMachineWithoutTheDevice() {
    #expect(WakefulProcessors(device: "/nowhere/latency", logger: Logger(label: "test")) == nil)
  }
}
