import Foundation

@testable import Store

/// How long the tests that crash a disk may look.
enum CrashEffort {
  /// How often the dice are thrown for each crash: `HALITE_CRASH_SEEDS`.
  static let seeds =
    ProcessInfo.processInfo.environment["HALITE_CRASH_SEEDS"].flatMap(Int.init) ?? 1
}

/// One run on a disk that remembers, and the crashes it is put through afterwards.
struct CrashRun {
  /// What was tried.
  struct Tally: CustomStringConvertible {
    var operations = 0
    var points = 0
    var images = 0
    var recoveries = 0
    var recoveryImages = 0
    var description: String {
      "\(operations) operations, \(points) crash points, \(images) images; \(recoveries) recoveries "
        + "crashed, \(recoveryImages) images of them"
    }
  }

  let name: String
  let disk: CrashDisk
  let history: CrashHistory
  /// Crashes only between transactions, for journal modes that promise nothing within one.
  var onlyAtBoundaries = false
  /// Every how many operations a crash is tried; with more seeds, more of them.
  var stride = 1
  /// After how many images one is put to use, and one recovery crashed.
  var useEvery = 12
  var recoveryEvery = 60
  var use: (TestDirectory, LogIndex) throws -> Void

  init(_ name: String, _ disk: CrashDisk, _ history: CrashHistory) {
    self.name = name
    self.disk = disk
    self.history = history
    use = { try history.expectUsable($0, promised: $1) }
  }

  /// Crashes at every operation.
  @discardableResult
  func crashEverywhere() throws -> Tally {
    disk.stopRecording()
    let operations = disk.operations
    var tally = Tally(operations: operations.count)
    var state = disk.start
    var sinceUse = 0
    var sinceRecovery = 0
    for (number, operation) in operations.enumerated() {
      state.perform(operation)
      switch operation {
      case .promise, .retract: continue
      case .boundary: break
      default: if onlyAtBoundaries { continue }
      }
      guard number % max(1, stride / CrashEffort.seeds) == 0 else { continue }
      tally.points += 1
      for seed in 0..<(state.isCertain ? 1 : CrashEffort.seeds) {
        var random = SeededRandom(UInt64(number * 1000 + seed))
        let what = "\(name), crash after operation \(number) of \(operations.count), seed \(seed)"
        try explained(what, operation) {
          let image = try state.image(&random)
          tally.images += 1
          sinceUse += 1
          sinceRecovery += 1
          let isForRecovery = sinceRecovery >= recoveryEvery
          if isForRecovery {
            sinceRecovery = 0
            try crashRecovery(image, state.promised, &tally)
          } else {
            _ = try history.expectCommitted(image, promised: state.promised)
          }
          if sinceUse >= useEvery {
            sinceUse = 0
            try use(image, state.promised)
          }
        }
      }
    }
    print("crash: \(name): \(tally)")
    return tally
  }

  /// Recovers, and crashes that at each of its operations.
  private func crashRecovery(
    _ image: TestDirectory,
    _ promised: LogIndex,
    _ tally: inout Tally
  ) throws {
    let disk = try CrashDisk(image)
    let last = try history.expectCommitted(image, disk, promised: promised).log.last.index
    disk.stopRecording()
    tally.recoveries += 1
    var state = disk.start
    let operations = disk.operations
    for (number, operation) in operations.enumerated() {
      state.perform(operation)
      for seed in 0..<(state.isCertain ? 1 : CrashEffort.seeds) {
        var random = SeededRandom(UInt64(number * 1000 + seed + 7))
        try explained("recovery crashed after operation \(number), seed \(seed)", operation) {
          let image = try state.image(&random)
          tally.recoveryImages += 1
          let store = try history.expectCommitted(image, promised: promised)
          guard store.log.last.index == last else {
            throw LogReplay.Mismatch(
              description: "\(store.log.last.index) after a recovery that had come to \(last)"
            )
          }
        }
      }
    }
  }

  private func explained(
    _ what: String,
    _ operation: CrashDisk.Operation,
    _ body: () throws -> Void
  ) throws {
    do { try body() } catch {
      throw LogReplay.Mismatch(description: "\(what) (\(operation.short)): \(error)")
    }
  }
}

extension CrashDisk.Operation {
  /// Without the bytes.
  var short: String {
    switch self {
    case .write(let file, let at, let bytes): "write(\(file), \(at), \(bytes.count))"
    default: "\(self)"
    }
  }
}
