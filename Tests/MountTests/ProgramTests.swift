import Foundation
import Testing

/// What these tests run their programs with.
@Suite(.serialized)
struct ProgramTests {
  @Test("Programs that have ended leave no descriptor open", .timeLimit(.minutes(1)))
  func descriptors() async throws {
    _ = try await Command.run(["true"])
    let before = try descriptorsInUse()
    for _ in 0..<100 { #expect(try await Command.run(["true"]).isSuccess) }
    // Foundation closes its own a little later.
    try await Deadline.wait(seconds: 20, for: "descriptors to be closed") {
      try descriptorsInUse() < before + 50
    }
  }

  @Test("A program that takes too long is ended", .timeLimit(.minutes(1)))
  func tooLong() async throws {
    let start = ContinuousClock.now
    let result = try await Command.run(["sleep", "50"], seconds: 1)
    #expect(!result.isSuccess)
    #expect(ContinuousClock.now - start < .seconds(20))
  }

  @Test("What a program leaves running keeps nobody waiting", .timeLimit(.minutes(1)))
  func leftRunning() async throws {
    let start = ContinuousClock.now
    let result = try await Command.run(["bash", "-c", "setsid sleep 30 & echo started"])
    #expect(result.output == "started\n")
    #expect(ContinuousClock.now - start < .seconds(20))
  }

  private func descriptorsInUse() throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
  }
}
