import Store

@testable import Replication

extension SessionTargets {
  /// Both sides of a connection between voters; the first byte says which, and what it knows.
  static let voter = FuzzTarget(
    "peer-session",
    seeds: {
      let scripts = seeds([
        [.peerHello, .peerMessage, .heartbeat, .peerMessage, .goodbye],
        [.peerWelcome, .heartbeat, .goodbye], [.peerHello, .peerHello], [.peerMessage],
        [.peerWelcome, .peerMessage], [.refusal],
      ])
      return scripts.flatMap { script in [0, 1, 2, 3].map { [$0] + script } }
    }
  ) { bytes in
    var input = FuzzInput(bytes)
    let choice = input.byte()
    var now = ContinuousClock.now
    let dials = choice & 1 != 0
    var session = PeerSession(
      dials ? .dialling(voter: "node1") : .accepting(voters: ["node2", "node3"]),
      local: PeerSession.Local(
        name: dials ? "node2" : "node1",
        cluster: choice & 2 == 0 ? WireSeeds.cluster : nil
      ),
      certifiedNames: choice & 4 == 0 ? nil : ["node1", "node2"],
      now: now
    )
    for _ in 0..<300 where !input.isEmpty {
      let operation = input.byte()
      if let kind = Message.Kind(rawValue: operation) {
        if let frame = frame(&input, kind) { session.receive(frame.message, at: now) }
      } else {
        switch operation & 7 {
        case 0, 1: if dials { session.send(input.block().suffix(WireLimit.peerMessage)) }
        case 2: session.isWritable.toggle()
        case 3: session.stop(.stopping)
        case 4: session.malformed(ReplicationError(.malformed, "no frame"))
        default:
          now += .milliseconds(Int64(input.byte()) * 100)
          session.tick(at: now, cluster: WireSeeds.cluster, wallClock: 1)
        }
      }
      var count = 0
      while let directive = session.next(at: now) {
        count += 1
        try FuzzFinding.check(count < mostDirectives, "a voter's session never stops asking")
        switch directive {
        case .send(let message): try checkSent(message, .zero)
        case .deliver(_, let name):
          try FuzzFinding.check(
            !dials && ["node2", "node3"].contains(name),
            "a message is taken from \(name)"
          )
        case .close: return
        }
      }
    }
  }
}
