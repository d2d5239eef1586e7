import NIOCore
import Store

extension ReplicaConnection {
  /// From here on the sink may ask for grants, if both sides know of them.
  func connect() {
    guard session.borrows else { return }
    isConnected = true
    let me = NIOLoopBound(self, eventLoop: loop)
    let loop = loop
    environment.sink.connected(through: session.welcomed) { request in
      loop.execute {
        guard !me.value.isClosing else { return }
        me.value.session.request(request)
        me.value.pump()
      }
    }
  }

  func received(_ answer: GrantAnswer) {
    // Before the sink could ask, it is an answer to nothing.
    guard isConnected else { return }
    environment.sink.received(answer)
  }

  /// The grants end with the connection.
  func disconnect() {
    guard isConnected else { return }
    isConnected = false
    environment.sink.disconnected()
  }
}
