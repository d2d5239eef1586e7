import Foundation
import Testing

/// Every decoder of outside input under attack, from one seed.
///
/// `make fuzz` gives the formats of files the attention of libFuzzer; this is what runs with all
/// tests, for the wire, the configuration and HTTP as well. `HALITE_FUZZ_SEED` repeats a run,
/// `HALITE_FUZZ_SECONDS` makes it longer, and `HALITE_FUZZ_PART=1/2` takes every second target, for as
/// many processes as there are processors. What once was a defect lies in `Regressions/TARGET/` and
/// is run each time.
@Suite(.serialized, .timeLimit(.minutes(60))) struct FuzzTests {
  static let targets = part(
    of: FormatTargets.all + WireTargets.all + SessionTargets.all + NodeTargets.all
  )

  private static let environment = ProcessInfo.processInfo.environment
  private static let seed =
    environment["HALITE_FUZZ_SEED"].flatMap(UInt64.init) ?? 20_261_124
  /// Seconds a target.
  private static let budget =
    environment["HALITE_FUZZ_SECONDS"].flatMap(Double.init) ?? 1.5
  /// Seconds that one input may take, on a machine that has other things to do.
  private static let slowest = 10.0
  /// Bytes by which the process may grow while one target runs.
  private static let growth = 256 << 20

  /// The targets that are this process's share.
  private static func part(of targets: [FuzzTarget]) -> [FuzzTarget] {
    let numbers = environment["HALITE_FUZZ_PART"]?.split(separator: "/").compactMap { Int($0) }
    guard let numbers else { return targets }
    guard numbers.count == 2, numbers[1] > 0, (1...numbers[1]).contains(numbers[0]) else {
      preconditionFailure("HALITE_FUZZ_PART is a fraction, as 1/2")
    }
    return targets.enumerated().filter { $0.offset % numbers[1] == numbers[0] - 1 }.map(\.element)
  }

  @Test(arguments: targets.map(\.name)) func survives(name: String) throws {
    let target = try #require(Self.targets.first { $0.name == name })
    let record = try InputRecord(name)
    let before = try Self.residentPeak()
    for (file, bytes) in try Self.regressions(name) {
      try Self.run(target, bytes, record, "regression \(file)")
    }
    let seeds = try target.seeds()
    for (number, bytes) in seeds.enumerated() {
      try Self.run(target, bytes, record, "seed \(number)")
    }
    // A trap ends the process: what was running must be known before.
    print("fuzz \(name): HALITE_FUZZ_SEED=\(Self.seed), input in \(record.path)")
    var mutator = Mutator(corpus: seeds, maxBytes: target.maxBytes, seed: Self.seed)
    let start = ContinuousClock.now
    var inputs = 0
    while ContinuousClock.now - start < .seconds(Self.budget) {
      try Self.run(target, mutator.next(), record, "seed \(Self.seed), input \(inputs)")
      inputs += 1
    }
    print("fuzz \(name): \(inputs) inputs")
    #expect(inputs > 10, "\(name) is too slow to be fuzzed")
    #expect(try Self.residentPeak() - before < Self.growth, "\(name) makes the process grow")
    try record.discard()
  }

  private static func run(
    _ target: FuzzTarget,
    _ bytes: [UInt8],
    _ record: InputRecord,
    _ what: String
  ) throws {
    record.note(bytes)
    let start = ContinuousClock.now
    do { try target.run(bytes) } catch {
      Issue.record("\(target.name), \(what): \(error) (input in \(record.path))")
      throw error
    }
    let time = ContinuousClock.now - start
    if time > .seconds(slowest) {
      throw FuzzFinding("\(target.name), \(what): takes \(time) (input in \(record.path))")
    }
  }

  private static func regressions(_ name: String) throws -> [(String, [UInt8])] {
    let directory = LTXSeeds.root.appendingPathComponent("Tests/FuzzTests/Regressions/\(name)")
    guard FileManager.default.fileExists(atPath: directory.path) else { return [] }
    return try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted().map {
      ($0, [UInt8](try Data(contentsOf: directory.appendingPathComponent($0))))
    }
  }

  /// Bytes of memory the process has had at most.
  private static func residentPeak() throws -> Int {
    let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
    return try #require(Int(line.filter(\.isNumber))) << 10
  }

  @Test func theMutatorRepeatsItself() {
    let corpus: [[UInt8]] = [[1, 2, 3], Array(repeating: 7, count: 100)]
    func inputs(_ seed: UInt64) -> [[UInt8]] {
      var mutator = Mutator(corpus: corpus, maxBytes: 64, seed: seed)
      return (0..<500).map { _ in mutator.next() }
    }
    #expect(inputs(5) == inputs(5))
    #expect(inputs(5) != inputs(6))
    #expect(inputs(5).allSatisfy { $0.count <= 64 })
    #expect(Set(inputs(5)).count > 300)
  }
}
