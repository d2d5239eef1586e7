import Store
import Synchronization

/// The grants of one connection: keeps what it is asked, and answers as the source says.
final class FakeLender: GrantLender {
  struct State: Sendable {
    var requests: [GrantRequest] = []
    var ends = 0
  }
  let state = Mutex(State())
  let node: String
  private let source: FakeSource
  private let send: @Sendable (GrantAnswer) -> Void

  init(source: FakeSource, node: String, answer: @escaping @Sendable (GrantAnswer) -> Void) {
    self.source = source
    self.node = node
    send = answer
  }

  func receive(_ request: GrantRequest) {
    state.withLock { $0.requests.append(request) }
    let reply = source.state.withLock { $0.reply }
    if let answer = reply?(request) { send(answer) }
  }

  /// Says something that was not just asked for.
  func answer(_ answer: GrantAnswer) { send(answer) }

  func end() { state.withLock { $0.ends += 1 } }

  var requests: [GrantRequest] { state.withLock { $0.requests } }
  var ends: Int { state.withLock { $0.ends } }
}
