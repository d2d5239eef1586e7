import Foundation
import Testing

/// Elections in many simulated worlds. `HALITE_SIMULATE_SEEDS=100000` tries more of them; what fails
/// is printed with its seed and what led to it.
@Suite(.timeLimit(.minutes(30))) struct ElectionSimulationTests {
  private static let usualSeeds = 2_000
  private static let steps = 800
  /// Of worlds with databases, where more happens.
  private static let wholeSteps = 2_000

  private static var seeds: Int {
    ProcessInfo.processInfo.environment["HALITE_SIMULATE_SEEDS"].flatMap { Int($0) } ?? usualSeeds
  }

  /// The first failure in any of the worlds, as far as they were tried.
  private static func firstFailure(
    seeds: Int,
    isWhole: Bool = false,
    defect: Defect? = nil,
    isLeaseIgnored: Bool = false,
    isDiskFailing: Bool = false
  ) async -> Failure? {
    let lanes = max(1, ProcessInfo.processInfo.activeProcessorCount)
    return await withTaskGroup(of: Failure?.self) { group in
      for lane in 0..<lanes {
        group.addTask {
          for seed in stride(from: lane, to: seeds, by: lanes) where !Task.isCancelled {
            // Other tests run on these threads too.
            await Task.yield()
            if let failure = Simulation.run(
              seed: UInt64(seed),
              steps: isWhole ? Self.wholeSteps : Self.steps,
              isWhole: isWhole,
              defect: defect,
              isLeaseIgnored: isLeaseIgnored,
              isDiskFailing: isDiskFailing
            ) {
              return failure
            }
          }
          return nil
        }
      }
      for await failure in group {
        guard let failure else { continue }
        group.cancelAll()
        return failure
      }
      return nil
    }
  }

  @Test func nothingGoesWrong() async {
    let failure = await Self.firstFailure(seeds: Self.seeds)
    #expect(failure == nil, "\(failure?.description ?? "")")
  }

  /// Elections, logs, commits, snapshots, repairs and the change of primaries, with several databases.
  @Test func nothingGoesWrongWithDatabases() async {
    let failure = await Self.firstFailure(seeds: Self.seeds, isWhole: true)
    #expect(failure == nil, "\(failure?.description ?? "")")
  }

  /// The log does not depend on clocks: without leases it is as safe as Raft's.
  @Test func theLogIsSafeWithoutLeases() async {
    let failure = await Self.firstFailure(seeds: Self.seeds / 4, isLeaseIgnored: true)
    #expect(failure == nil, "\(failure?.description ?? "")")
  }

  @Test func writesMayFail() async {
    let failure = await Self.firstFailure(seeds: Self.seeds / 4, isDiskFailing: true)
    #expect(failure == nil, "\(failure?.description ?? "")")
  }

  /// A check that cannot fail checks nothing.
  @Test(arguments: Defect.allCases)
  func eachDefectIsFound(_ defect: Defect) async {
    let failure = await Self.firstFailure(
      seeds: Self.usualSeeds,
      isWhole: defect.isOfDatabases,
      defect: defect
    )
    #expect(failure != nil, "\(defect) goes unnoticed")
  }
}
