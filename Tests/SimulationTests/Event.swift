@testable import Lease

/// What happens in the simulated world. `life` counts the starts of a node: what a process had begun
/// ends with it.
enum Event {
  case tick(Int, life: Int)
  case deliver(Packet, from: Int, to: Int)
  case recordStored(Int, life: Int, ElectionRecord)
  case logFenced(Int, life: Int, LeaseTerm)
  /// Entries up to `length` are on stable storage; the leader that sent them, if another, is told.
  case logFlushed(Int, life: Int, version: Int, length: Int, leader: Int?, term: LeaseTerm)
  /// A client writes and reads at each node that believes to be the primary.
  case clients
  case fault
  case crash(Int, life: Int)
  case restart(Int, life: Int)
  case heal(Int)
  /// The next frame of a connection comes to one of its ends.
  case frame(Int, to: Connection.End, node: Int)
  /// Something that a node has begun comes to its end.
  case work(Int, life: Int, (inout Simulation) -> Void)

  /// Whose election takes it, which takes one thing after the other and waits for the disk meanwhile.
  var electionNode: Int? {
    switch self {
    case .tick(let node, _), .deliver(.election, _, to: let node): node
    default: nil
    }
  }

  /// Whose event it is, if it waits while that node is paused.
  var node: Int? {
    switch self {
    case .tick(let node, _), .recordStored(let node, _, _), .logFenced(let node, _, _),
      .logFlushed(let node, _, _, _, _, _), .deliver(_, _, to: let node),
      .frame(_, to: _, let node), .work(let node, _, _):
      node
    case .clients, .fault, .crash, .restart, .heal: nil
    }
  }
}

enum Packet {
  case election(ElectionMessage)
  case entries(term: LeaseTerm, after: Int, afterTerm: LeaseTerm, [SimulatedLog.Entry], commit: Int)
  /// The receiver's log is that of the leader up to `match`, or (refused) at most that.
  case acknowledgement(term: LeaseTerm, match: Int, isRefused: Bool)

  var isVoteRequest: Bool {
    if case .election(let message) = self, case .voteRequest = message.body { return true }
    return false
  }
}
