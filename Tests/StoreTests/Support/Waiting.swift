import Foundation
import Synchronization

@testable import Store

/// Waits on a thread of its own until a condition holds; false when it does not in time.
func eventually(_ seconds: Double = 20, _ condition: () throws -> Bool) rethrows -> Bool {
  let deadline = Date(timeIntervalSinceNow: seconds)
  while Date() < deadline {
    if try condition() { return true }
    usleep(1000)
  }
  return try condition()
}

/// Calls something with a completion and waits for what it says.
func completing(_ start: (@escaping MountCompletion) -> Void) throws {
  let gate = DispatchSemaphore(value: 0)
  let outcome = Mutex<StoreError?>(nil)
  start { error in
    outcome.withLock { $0 = error }
    gate.signal()
  }
  guard gate.wait(timeout: .now() + 60) == .success else {
    throw StoreError(.stopped, "an operation never completed")
  }
  if let error = outcome.withLock({ $0 }) { throw error }
}
