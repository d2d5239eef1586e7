import Dispatch
import Testing

@testable import Store

struct WorkersTests {
  @Test("Work that waits holds up no other work", .timeLimit(.minutes(1)))
  func waiting() async throws {
    let workers = Workers()
    let gate = DispatchSemaphore(value: 0)
    let waiting = 40
    let ended = DispatchGroup()
    for _ in 0..<waiting {
      ended.enter()
      workers.async {
        gate.wait()
        ended.leave()
      }
    }
    // What all of them wait for comes after them.
    let start = ContinuousClock.now
    await withCheckedContinuation { continuation in
      workers.async { for _ in 0..<waiting { gate.signal() } }
      ended.notify(queue: .global()) { continuation.resume() }
    }
    #expect(ContinuousClock.now - start < .seconds(10))
  }
}
