import Synchronization
import Testing

@testable import Store

/// Waiting, fairness, cancelling and the observer.
struct FileLocksTests {
  /// What completions and observers reported, in order.
  private final class Journal: Sendable {
    private let entries = Mutex<[String]>([])
    var all: [String] { entries.withLock { $0 } }
    func add(_ entry: String) { entries.withLock { $0.append(entry) } }
  }

  private final class Counts: Sendable {
    let inside = Atomic(0)
    let total = Atomic(0)
  }

  private let range = LockRange(10, 19)

  private func request(
    _ owner: UInt64,
    _ kind: LockKind,
    _ range: LockRange? = nil,
    handle: UInt64? = nil
  ) -> LockRequest {
    LockRequest(
      owner: .kernel(owner),
      handle: handle ?? owner,
      pid: Int32(owner),
      kind: kind,
      range: range ?? self.range
    )
  }

  @discardableResult
  private func set(
    _ locks: FileLocks,
    _ request: LockRequest,
    wait: Bool = true,
    _ journal: Journal
  ) -> LockTicket? {
    locks.set(request, wait: wait) { journal.add("\(request.owner) \($0)") }
  }

  @Test func conflictsWithoutWaiting() {
    let locks = FileLocks()
    let journal = Journal()
    set(locks, request(1, .read), wait: false, journal)
    set(locks, request(2, .read), wait: false, journal)
    set(locks, request(3, .write), wait: false, journal)
    #expect(journal.all == ["kernel(1) granted", "kernel(2) granted", "kernel(3) conflict"])
    #expect(locks.test(request(3, .write))?.pid == 1)
    #expect(locks.test(request(3, .read)) == nil)
    #expect(locks.hasOther(than: .kernel(1)))
    #expect(locks.isLocked(range, .read))
    #expect(!locks.isLocked(range, .write))
    #expect(!locks.tryLock(.write, range))
    #expect(locks.tryLock(.read, range))
  }

  /// An application that would not wait meets the daemon's work as a delay, and never as an error.
  @Test func whatTheDaemonHoldsBrieflyDelaysEverybody() {
    let locks = FileLocks()
    let journal = Journal()
    #expect(locks.tryLock(.write, range, briefly: true))
    for owner in UInt64(1)...3 { set(locks, request(owner, .write), wait: owner == 3, journal) }
    #expect(journal.all == [])
    locks.unlock(owner: .daemon, range: range)
    // The first has it; the second would not wait for that one, the third does.
    #expect(journal.all == ["kernel(1) granted", "kernel(2) conflict"])
    locks.unlock(owner: .kernel(1), handle: 1, range: range)
    #expect(journal.all.last == "kernel(3) granted")
  }

  @Test func aBriefLockDoesNotHideAnApplications() {
    let locks = FileLocks()
    let journal = Journal()
    set(locks, request(1, .read, LockRange(15, 15)), wait: false, journal)
    #expect(locks.tryLock(.read, range, briefly: true))
    set(locks, request(2, .write), wait: false, journal)
    set(locks, request(3, .read), wait: false, journal)
    set(locks, request(1, .write), wait: false, journal)
    #expect(
      journal.all == [
        "kernel(1) granted", "kernel(2) conflict", "kernel(3) granted",
        "kernel(1) conflict",
      ]
    )
    locks.unlock(owner: .kernel(3), handle: 3, range: range)
    set(locks, request(1, .write), wait: false, journal)
    #expect(journal.all.count == 4)
    // Another reader does not meet the daemon, and the writer then meets the reader.
    set(locks, request(4, .read), wait: false, journal)
    #expect(journal.all.suffix(2) == ["kernel(4) granted", "kernel(1) conflict"])
  }

  @Test func waitersAreServedInTheOrderOfArrival() {
    let locks = FileLocks()
    let journal = Journal()
    set(locks, request(1, .read), journal)
    for owner in UInt64(2)...4 { set(locks, request(owner, .write), journal) }
    // A reader who comes later does not overtake the writers before it.
    set(locks, request(5, .read), journal)
    #expect(journal.all == ["kernel(1) granted"])
    for owner in UInt64(1)...4 {
      locks.unlock(owner: .kernel(owner), handle: owner, range: range)
      #expect(journal.all.last == "kernel(\(owner + 1)) granted")
      #expect(journal.all.count == Int(owner) + 1)
    }
  }

  @Test func readersAreServedTogether() {
    let locks = FileLocks()
    let journal = Journal()
    set(locks, request(1, .write), journal)
    for owner in UInt64(2)...4 { set(locks, request(owner, .read), journal) }
    locks.releaseAll(owner: .kernel(1))
    #expect(
      journal.all == [
        "kernel(1) granted", "kernel(2) granted", "kernel(3) granted", "kernel(4) granted",
      ]
    )
  }

  @Test func anOwnerWithLocksIsNotHeldUpByThoseWhoWaitForIt() {
    let locks = FileLocks()
    let journal = Journal()
    set(locks, request(1, .read), journal)
    set(locks, request(2, .write), journal)
    set(locks, request(1, .read, LockRange(15, 25)), journal)
    #expect(journal.all == ["kernel(1) granted", "kernel(1) granted"])
  }

  @Test func aCancelledWaiterLetsOthersPass() throws {
    let locks = FileLocks()
    let journal = Journal()
    set(locks, request(1, .read), journal)
    let ticket = try #require(set(locks, request(2, .write), journal))
    set(locks, request(3, .read), journal)
    locks.cancel(ticket)
    locks.cancel(ticket)
    #expect(
      journal.all == ["kernel(1) granted", "kernel(2) interrupted", "kernel(3) granted"]
    )
    locks.releaseAll(handle: 1)
    locks.releaseAll(handle: 3)
    #expect(locks.held.isEmpty)
  }

  @Test func aCircleOfWaitersIsRefused() {
    let locks = FileLocks()
    let journal = Journal()
    let (a, b, c) = (LockRange(0, 0), LockRange(1, 1), LockRange(2, 2))
    set(locks, request(1, .write, a), journal)
    set(locks, request(2, .write, b), journal)
    set(locks, request(3, .write, c), journal)
    set(locks, request(1, .write, b), journal)
    set(locks, request(2, .write, c), journal)
    set(locks, request(3, .write, a), journal)
    #expect(journal.all.suffix(1) == ["kernel(3) deadlock"])
    locks.releaseAll(owner: .kernel(3))
    #expect(journal.all.suffix(1) == ["kernel(2) granted"])
  }

  @Test func locksGoWithTheirHandle() {
    let locks = FileLocks()
    let journal = Journal()
    set(locks, request(1, .write, LockRange(0, 9), handle: 7), journal)
    set(locks, request(1, .write, LockRange(10, 19), handle: 8), journal)
    locks.releaseAll(handle: 7)
    #expect(locks.held.map(\.range) == [LockRange(10, 19)])
    #expect(locks.holds(owner: .kernel(1), range: LockRange(10, 19), kind: .write))
  }

  @Test("the observer comes before an exclusive lock is gone", arguments: 0..<4)
  func observer(way: Int) {
    let locks = FileLocks()
    let journal = Journal()
    let proceed = Mutex<(@Sendable () -> Void)?>(nil)
    locks.setObserver(ranges: [LockRange(15, 15)]) { lost, _, go in
      journal.add("lost \(lost.map(\.owner))")
      proceed.withLock { $0 = go }
    }
    set(locks, request(1, .write), journal)
    set(locks, request(2, .read), journal)
    switch way {
    case 0: locks.unlock(owner: .kernel(1), range: range) { journal.add("done") }
    case 1: locks.releaseAll(owner: .kernel(1)) { journal.add("done") }
    case 2: locks.releaseAll(handle: 1) { journal.add("done") }
    default: locks.set(request(1, .read), wait: false) { _ in journal.add("done") }
    }
    #expect(journal.all == ["kernel(1) granted", "lost [Store.LockOwner.kernel(1)]"])
    #expect(locks.holds(owner: .kernel(1), range: range, kind: .write))
    proceed.withLock { $0 }?()
    #expect(Set(journal.all.suffix(2)) == ["done", "kernel(2) granted"])
    proceed.withLock { $0 }?()
    #expect(journal.all.count == 4)
  }

  @Test func theObserverIsNotAskedWhereNothingExclusiveIsLost() {
    let locks = FileLocks()
    let journal = Journal()
    locks.setObserver(ranges: [LockRange(15, 15)]) { _, _, go in
      journal.add("lost")
      go()
    }
    set(locks, request(1, .read), journal)
    locks.unlock(owner: .kernel(1), range: range)
    set(locks, request(1, .write, LockRange(16, 19)), journal)
    locks.unlock(owner: .kernel(1), range: LockRange(0, 99))
    set(locks, request(1, .write), journal)
    locks.unlock(owner: .kernel(1), range: LockRange(10, 14))
    set(locks, request(1, .write), wait: false, journal)
    #expect(locks.tryLock(.write, LockRange(30, 40)))
    locks.releaseAll(owner: .daemon)
    #expect(!journal.all.contains("lost"))
    locks.unlock(owner: .kernel(1), range: LockRange(15, 15))
    #expect(journal.all.last == "lost")
  }

  @Test("many threads never hold an exclusive lock together", .timeLimit(.minutes(1)))
  func threads() async {
    let locks = FileLocks()
    let counts = Counts()
    await withTaskGroup(of: Void.self) { group in
      for owner in UInt64(1)...8 {
        group.addTask {
          for _ in 0..<300 {
            await withCheckedContinuation { continuation in
              locks.set(
                LockRequest(
                  owner: .kernel(owner),
                  handle: owner,
                  kind: .write,
                  range: LockRange(0, 0)
                ),
                wait: true
              ) { outcome in
                #expect(outcome == .granted)
                continuation.resume()
              }
            }
            #expect(counts.inside.add(1, ordering: .sequentiallyConsistent).newValue == 1)
            counts.total.add(1, ordering: .relaxed)
            counts.inside.subtract(1, ordering: .sequentiallyConsistent)
            locks.releaseAll(handle: owner)
          }
        }
      }
    }
    #expect(counts.total.load(ordering: .relaxed) == 2400)
    #expect(locks.held.isEmpty)
  }
}

@Suite(.timeLimit(.minutes(1)))
struct GuardedLocksTests {
  /// Nobody gets a lock any more who was interrupted while the guard made up its mind.
  @Test func whoIsWithTheGuardCanBeInterrupted() throws {
    let locks = FileLocks()
    let range = LockRange(5, 5)
    let pending = Mutex<(@Sendable (StoreError?) -> Void)?>(nil)
    locks.setGuard(range: range) { _, answer in pending.withLock { $0 = answer } }
    let outcomes = Mutex<[LockOutcome]>([])
    let request = LockRequest(owner: .kernel(1), kind: .write, range: range)
    let ticket = locks.set(request, wait: true) { outcome in
      outcomes.withLock { $0.append(outcome) }
    }
    locks.cancel(try #require(ticket))
    #expect(outcomes.withLock { $0 } == [.interrupted])
    pending.withLock { $0 }?(nil)
    #expect(outcomes.withLock { $0 } == [.interrupted])
    #expect(!locks.isLocked(range))
  }

  @Test func exclusiveLocksWaitForTheirGuard() {
    let locks = FileLocks()
    let asked = Mutex(0)
    let verdict = Mutex<StoreError?>(StoreError(.full, "no room"))
    locks.setGuard(range: LockRange(5, 5)) { _, answer in
      asked.withLock { $0 += 1 }
      answer(verdict.withLock { $0 })
    }
    func outcome(_ kind: LockKind, _ range: LockRange, _ owner: LockOwner = .kernel(1))
      -> LockOutcome?
    {
      let found = Mutex<LockOutcome?>(nil)
      locks.set(LockRequest(owner: owner, kind: kind, range: range), wait: false) { outcome in
        found.withLock { $0 = outcome }
      }
      return found.withLock { $0 }
    }
    #expect(outcome(.write, LockRange(5, 5)) == .failed(.full))
    #expect(outcome(.write, LockRange(6, 6)) == .granted)
    #expect(outcome(.read, LockRange(5, 5)) == .granted)
    #expect(asked.withLock { $0 } == 1)
    verdict.withLock { $0 = nil }
    #expect(outcome(.write, LockRange(5, 5)) == .granted)
    #expect(outcome(.write, LockRange(5, 5), .kernel(2)) == .conflict)
    #expect(asked.withLock { $0 } == 3)
    locks.setGuard(range: LockRange(5, 5), nil)
    locks.unlock(owner: .kernel(1), range: LockRange(5, 5))
    #expect(outcome(.write, LockRange(5, 5), .kernel(2)) == .granted)
    #expect(asked.withLock { $0 } == 3)
  }
}
