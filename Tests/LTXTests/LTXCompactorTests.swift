import LTX
import Testing

/// Compaction against a database that simply takes one file after the other.
@Suite struct LTXCompactorTests {
  private func compact(
    _ files: [[UInt8]],
    compression: LTXCompression = .fast
  ) throws -> DecodedFile {
    var compactor = try LTXCompactor(files.map { LTXBytes($0) }, compression: compression)
    var bytes: [UInt8] = []
    while try compactor.step() { bytes += compactor.takeOutput() }
    bytes += compactor.takeOutput()
    #expect(try compactor.step() == false)
    return try DecodedFile(bytes)
  }

  @Test(.timeLimit(.minutes(2)), arguments: (1...40).map { UInt64($0) })
  func equalsTheFilesOneAfterTheOther(seed: UInt64) throws {
    var random = SeededRandom(seed)
    var history = History(&random, hasChecksums: seed % 5 != 0)
    for _ in 0..<random.below(12) + 2 { try history.transact(&random) }
    let files = history.files

    for _ in 0..<4 {
      let first = random.below(files.count)
      let last = random.below(files.count - first) + first
      var inputs = Array(files[first...last])
      // A range that is itself compacted first must make no difference.
      if inputs.count > 2, random.below(2) == 0 {
        let some = random.below(inputs.count - 1) + 1
        inputs = [try compact(Array(inputs[...some])).encoded(.none)] + inputs[(some + 1)...]
      }
      let merged = try compact(inputs, compression: random.below(2) == 0 ? .fast : .none)
      #expect(merged.header.minTXID.rawValue == UInt64(first + 1))
      #expect(merged.header.maxTXID.rawValue == UInt64(last + 1))
      #expect(merged.header.commit == UInt32(history.states[last + 1].count))
      #expect(merged.header.timestamp == Int64(last + 1))
      #expect(merged.header.nodeID == 0)

      var state = history.states[first]
      History.apply(merged, to: &state)
      #expect(state == history.states[last + 1], "seed \(seed) files \(first) to \(last)")
    }
  }

  @Test func laterFormsWinAndCutPagesAreLeftOut() throws {
    var history = History(pageSize: 512)
    try history.write(commit: 4, [1: 1, 2: 1, 3: 1, 4: 1])
    try history.write(commit: 2, [1: 2])
    try history.write(commit: 3, [3: 3])
    let merged = try compact(history.files)
    #expect(merged.pages.map(\.number.rawValue) == [1, 2, 3])
    #expect(merged.pages.map { $0.bytes[0] } == [2, 1, 3])
    let increments = try compact(Array(history.files[1...]))
    #expect(increments.pages.map(\.number.rawValue) == [1, 3])
    #expect(increments.trailer?.postApply == merged.trailer?.postApply)
  }

  @Test func aDeletedDatabaseKeepsNothing() throws {
    var history = History(pageSize: 512)
    try history.write(commit: 3, [1: 1, 2: 1, 3: 1])
    try history.write(commit: 0, [:])
    let deleted = try compact(history.files)
    #expect(deleted.pages.isEmpty)
    #expect(deleted.trailer?.postApply == .empty)
    try history.write(commit: 1, [1: 3])
    let again = try compact(history.files)
    #expect(again.pages.map(\.number.rawValue) == [1])
    #expect(again.pages.first?.bytes.first == 3)
  }

  @Test func overlappingInputsAreTaken() throws {
    var history = History(pageSize: 512)
    for i in 1...4 as ClosedRange<UInt8> { try history.write(commit: 1, [1: i]) }
    let twoToThree = try compact(Array(history.files[1...2])).encoded(.fast)
    let merged = try compact([history.files[0], twoToThree, history.files[3]])
    #expect(merged.pages.first?.bytes.first == 4)
    let threeToFour = try compact(Array(history.files[2...3])).encoded(.fast)
    let overlapping = try compact([history.files[0], twoToThree, threeToFour])
    #expect(overlapping == merged)
  }

  @Test func whatDoesNotFitIsRefused() throws {
    var history = History(pageSize: 512)
    for i in 1...3 as ClosedRange<UInt8> { try history.write(commit: 1, [1: i]) }
    let files = history.files
    #expect(throws: LTXError.self) { try compact([]) }
    #expect(throws: LTXError.self, "a gap") { try compact([files[0], files[2]]) }
    #expect(throws: LTXError.self, "order") { try compact([files[1], files[0]]) }
    #expect(throws: LTXError.self, "twice") { try compact([files[1], files[1]]) }

    var other = History(pageSize: 1_024)
    try other.write(commit: 1, [1: 1])
    try other.write(commit: 1, [1: 2])
    #expect(throws: LTXError.self, "page size") { try compact([files[0], other.files[1]]) }

    var fork = History(pageSize: 512)
    try fork.write(commit: 1, [1: 9])
    try fork.write(commit: 1, [1: 2])
    let error = #expect(throws: LTXError.self) { try compact([files[0], fork.files[1]]) }
    #expect(error?.code == .mismatch)

    var damaged = files[1]
    damaged[damaged.count - 1] ^= 1
    #expect(throws: LTXError.self, "damaged") { try compact([files[0], damaged]) }
  }
}
