import NIOCore
import Store

extension ServerConnection {
  /// From here on the replica may ask for grants, if both sides know of them.
  func lend(to name: String) {
    guard let peer, peer.lends else { return }
    let me = NIOLoopBound(self, eventLoop: loop)
    let loop = loop
    lender = server.source.lender(to: name) { answer in
      loop.execute {
        guard !me.value.isClosing else { return }
        me.value.peer?.answer(answer)
        me.value.pump()
      }
    }
  }

  /// The grants end with the connection.
  func endLending() {
    // Let go of first: whatever its end leads to, there is no second one.
    let ending = lender
    lender = nil
    ending?.end()
  }
}
