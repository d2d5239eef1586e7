import Dispatch
import GRDB
import Synchronization

/// Reads that come while others are under way go on together, in one transaction and on one thread: to begin and end a
/// transaction costs more than most reads, and so does to wake a thread. Where one takes long, others go on beside it.
final class ReadGroups: Sendable {
  /// One read; told why there is no database for it where there is none.
  struct Job: Sendable {
    let perform: @Sendable (Result<Database, any Error>) -> Void
  }

  /// Reads in one transaction: more gains little, and a transaction that goes on for ever keeps the log from being
  /// checkpointed.
  static let maximumGroup = 32
  /// When nobody's turn has come for so long, one more connection is used.
  private static let patience = DispatchTimeInterval.milliseconds(2)

  private struct State: Sendable {
    /// The first of them has the number `taken`.
    var waiting: [Job] = []
    /// How many have had their turn.
    var taken: UInt64 = 0
    /// Threads that have nothing to do.
    var idle: [DispatchQueue]
    /// Whether somebody looks after `patience` whether turns go on.
    var isWatched = false
    /// Why no more reads are taken.
    var refusal: (any Error)?

    /// - Parameter end: only of those that came before it.
    mutating func take(before end: UInt64) -> Job? {
      guard taken < end, !waiting.isEmpty else { return nil }
      taken += 1
      return waiting.removeFirst()
    }

    var end: UInt64 { taken + UInt64(waiting.count) }
  }

  private let pool: DatabasePool
  private let connections: Int
  private let state: Mutex<State>
  private let runners = DispatchGroup()

  /// - Parameter connections: that read at one time.
  init(_ pool: DatabasePool, connections: Int) {
    self.pool = pool
    self.connections = connections
    // A thread of the global queues would be missed by others while it waits for a disk.
    let queues = (0..<connections).map { DispatchQueue(label: "nebulagc.reads.\($0)") }
    state = Mutex(State(idle: queues))
  }

  /// Only enqueues it.
  func add(_ job: Job) {
    enum Next { case refuse(any Error), run(DispatchQueue?), watch(UInt64), nothing }
    let next = state.withLock { state -> Next in
      if let refusal = state.refusal { return .refuse(refusal) }
      state.waiting.append(job)
      if state.idle.count == connections { return .run(start(&state)) }
      guard !state.isWatched, !state.idle.isEmpty else { return .nothing }
      state.isWatched = true
      return .watch(state.taken)
    }
    switch next {
    case .refuse(let error): job.perform(.failure(error))
    case .run(let queue): run(on: queue)
    case .watch(let taken): watch(taken)
    case .nothing: break
    }
  }

  /// Those whose turn has not come.
  var waiting: Int { state.withLock { $0.waiting.count } }

  /// Takes no more reads, and tells those why that wait.
  func giveUp(_ reason: any Error) {
    let waiting = state.withLock { state in
      state.refusal = reason
      defer { state.waiting = [] }
      return state.waiting
    }
    for job in waiting { job.perform(.failure(reason)) }
  }

  /// Takes no more reads, and returns when nobody uses the connections any more: on a file system that hangs that is never.
  func end(_ reason: any Error) {
    state.withLock { $0.refusal = $0.refusal ?? reason }
    runners.wait()
  }

  private func start(_ state: inout State) -> DispatchQueue? {
    guard let queue = state.idle.popLast() else { return nil }
    runners.enter()
    return queue
  }

  private func run(on queue: DispatchQueue?) {
    guard let queue else { return }
    queue.async {
      while let (job, end) = self.first(queue) { self.perform(job, before: end) }
      self.runners.leave()
    }
  }

  private func watch(_ taken: UInt64) {
    DispatchQueue.global().asyncAfter(deadline: .now() + Self.patience) { self.look(taken) }
  }

  /// Lets one more go on where no turn has come meanwhile.
  private func look(_ before: UInt64) {
    let (queue, taken) = state.withLock { state -> (DispatchQueue?, UInt64?) in
      let stands = state.taken == before && !state.waiting.isEmpty
      let queue = stands ? start(&state) : nil
      state.isWatched = !state.waiting.isEmpty && !state.idle.isEmpty
      return (queue, state.isWatched ? state.taken : nil)
    }
    run(on: queue)
    if let taken { watch(taken) }
  }

  /// - Returns: who is next, and where those end who may share his transaction: it sees what was there when they came. Nil
  ///   when nobody waits, and the queue is idle from now on.
  private func first(_ queue: DispatchQueue) -> (Job, UInt64)? {
    state.withLock { state in
      let end = state.end
      if let job = state.take(before: end) { return (job, end) }
      state.idle.append(queue)
      return nil
    }
  }

  private func perform(_ first: Job, before end: UInt64) {
    var next: Job? = first
    do {
      try pool.read { database in
        var count = 0
        while let job = next {
          job.perform(.success(database))
          count += 1
          // Some errors end the transaction, and what came next would have one of its own.
          let goesOn = count < Self.maximumGroup && database.isInsideTransaction
          next = goesOn ? state.withLock { $0.take(before: end) } : nil
        }
      }
    } catch {
      // Where only the end fails all have read what they wanted.
      next?.perform(.failure(error))
    }
  }
}
