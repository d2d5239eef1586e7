import Testing

@testable import Store

/// The lock table against a model that notes owner, kind and handle for every single byte.
struct LockTableTests {
  private struct Mark: Equatable {
    var kind: LockKind
    var handle: UInt64
  }

  private struct Model {
    var bytes: [LockOwner: [Int64: Mark]] = [:]

    func conflict(_ request: LockRequest) -> Bool {
      bytes.contains { owner, marks in
        owner != request.owner
          && (request.range.start...request.range.end).contains { byte in
            marks[byte].map { $0.kind == .write || request.kind == .write } ?? false
          }
      }
    }

    mutating func set(_ request: LockRequest) {
      for byte in request.range.start...request.range.end {
        bytes[request.owner, default: [:]][byte] = Mark(
          kind: request.kind,
          handle: request.handle
        )
      }
    }

    mutating func clear(_ owner: LockOwner, _ range: LockRange) {
      for byte in range.start...range.end { bytes[owner]?[byte] = nil }
    }
  }

  @Test("random locks equal the model byte for byte", arguments: 0..<40)
  func randomLocks(seed: UInt64) {
    var random = SplitMix(seed: seed)
    var table = LockTable()
    var model = Model()
    let owners: [LockOwner] = [.kernel(1), .kernel(2), .kernel(3), .daemon]
    for step in 0..<400 {
      let start = Int64.random(in: 0..<24, using: &random)
      let range = LockRange(start, Int64.random(in: start..<24, using: &random))
      let owner = owners[Int.random(in: 0..<owners.count, using: &random)]
      let handle = UInt64.random(in: 1...2, using: &random)
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<6:
        let kind: LockKind = Bool.random(using: &random) ? .read : .write
        let request = LockRequest(
          owner: owner,
          handle: handle,
          pid: 7,
          kind: kind,
          range: range
        )
        #expect((table.conflict(with: request) != nil) == model.conflict(request))
        guard table.conflict(with: request) == nil else { continue }
        table.insert(request)
        model.set(request)
        #expect(table.holds(owner: owner, range: range, kind: kind))
      case 6..<9:
        table.remove(owner: owner, range: range)
        model.clear(owner, range)
      default:
        table.removeAll { $0.handle == handle }
        for owner in owners {
          model.bytes[owner] = model.bytes[owner]?.filter { $0.value.handle != handle }
        }
      }
      check(table, model, owners, "seed \(seed), step \(step)")
    }
  }

  private func check(
    _ table: LockTable,
    _ model: Model,
    _ owners: [LockOwner],
    _ place: String
  ) {
    for owner in owners {
      var marks: [Int64: Mark] = [:]
      var last: HeldLock?
      for lock in table.held where lock.owner == owner {
        for byte in lock.range.start...lock.range.end {
          #expect(marks[byte] == nil, "locks of one owner overlap: \(place)")
          marks[byte] = Mark(kind: lock.kind, handle: lock.handle)
        }
        if let last, last.range.end + 1 == lock.range.start {
          #expect(
            last.kind != lock.kind || last.handle != lock.handle,
            "neighbours were not merged: \(place)"
          )
        }
        last = lock
      }
      #expect(marks == model.bytes[owner] ?? [:], "\(place)")
    }
    let starts = table.held.map(\.range.start)
    #expect(starts == starts.sorted())
  }

  @Test func unlockOfTheMiddleSplits() {
    var table = LockTable()
    table.insert(LockRequest(owner: .kernel(1), kind: .write, range: LockRange(0, .max)))
    table.remove(owner: .kernel(1), range: LockRange(10, 19))
    #expect(table.held.map(\.range) == [LockRange(0, 9), LockRange(20, .max)])
    table.insert(LockRequest(owner: .kernel(1), kind: .write, range: LockRange(10, 19)))
    #expect(table.held.map(\.range) == [LockRange(0, .max)])
  }

  @Test func loweringThePartOfALockKeepsTheRest() {
    var table = LockTable()
    let owner = LockOwner.kernel(1)
    table.insert(LockRequest(owner: owner, kind: .write, range: LockRange(0, 99)))
    table.insert(LockRequest(owner: owner, kind: .read, range: LockRange(40, 59)))
    let other = LockRequest(owner: .daemon, kind: .read, range: LockRange(40, 59))
    #expect(table.conflict(with: other) == nil)
    #expect(table.holds(owner: owner, range: LockRange(0, 99), kind: .read))
    #expect(!table.holds(owner: owner, range: LockRange(0, 99), kind: .write))
    #expect(table.held.map(\.kind) == [.write, .read, .write])
  }
}

/// A small generator so that a failing run can be repeated from its seed (Steele, Lea and Flood,
/// "Fast Splittable Pseudorandom Number Generators").
private struct SplitMix: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
