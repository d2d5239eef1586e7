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
  /// Reads that wait at one time; beyond this clients are told to come again.
  static let maximumWaiting = 4096
  /// Where a read takes so long, or those that waited have not all had their turn by then, one more connection is used.
  private static let patience = Duration.milliseconds(4)

  private struct State: Sendable {
    /// The first of them has the number `taken`.
    var waiting: [Job] = []
    /// How many have had their turn.
    var taken: UInt64 = 0
    /// Places in `queues` that have nothing to do.
    var idle: [Int]
    /// The others, and when the last turn of each began.
    var busy: [Int: ContinuousClock.Instant] = [:]
    /// Whether somebody looks after `patience` whether turns go on.
    var isWatched = false
    /// Why no more reads are taken.
    var refusal: (any Error)?

    var end: UInt64 { taken + UInt64(waiting.count) }

    /// - Parameter end: only of those that came before it.
    mutating func take(_ place: Int, before end: UInt64) -> Job? {
      guard taken < end, !waiting.isEmpty else { return nil }
      taken += 1
      busy[place] = .now
      return waiting.removeFirst()
    }

    /// Whether nobody who is busy will soon come to what waits.
    func stands(at now: ContinuousClock.Instant) -> Bool {
      busy.values.allSatisfy { now - $0 >= ReadGroups.patience }
    }
  }

  private let pool: DatabasePool
  private let state: Mutex<State>
  /// Of their own: a thread of the global queues would be missed by others while it waits for a disk.
  private let queues: [DispatchQueue]
  private let watch = DispatchQueue(label: "nebulagc.reads.watch")
  private let runners = DispatchGroup()

  /// - Parameter connections: that read at one time.
  init(_ pool: DatabasePool, connections: Int) {
    self.pool = pool
    queues = (0..<connections).map { DispatchQueue(label: "nebulagc.reads.\($0)") }
    state = Mutex(State(idle: Array(queues.indices)))
  }

  /// Only enqueues it.
  func add(_ job: Job) {
    enum Next { case refuse(any Error), run(Int), watch(UInt64), nothing }
    let next = state.withLock { state -> Next in
      if let refusal = state.refusal { return .refuse(refusal) }
      guard state.waiting.count < Self.maximumWaiting else {
        return .refuse(StorageError.tooManyReads)
      }
      state.waiting.append(job)
      if state.stands(at: .now), let place = start(&state) { return .run(place) }
      guard !state.isWatched, !state.idle.isEmpty else { return .nothing }
      state.isWatched = true
      return .watch(state.end)
    }
    switch next {
    case .refuse(let error): job.perform(.failure(error))
    case .run(let place): run(place)
    case .watch(let end): look(after: end)
    case .nothing: break
    }
  }

  /// Those whose turn has not come.
  var waiting: Int { state.withLock { $0.waiting.count } }

  /// Whether no more are taken.
  var isEnding: Bool { state.withLock { $0.refusal != nil } }

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

  private func start(_ state: inout State) -> Int? {
    guard let place = state.idle.popLast() else { return nil }
    state.busy[place] = .now
    runners.enter()
    return place
  }

  private func run(_ place: Int) {
    queues[place].async {
      while let (job, end) = self.first(place) { self.perform(job, place, before: end) }
      self.runners.leave()
    }
  }

  /// Lets one more go on where not all have had their turn after `patience`.
  ///
  /// - Parameter end: where those end who wait now.
  private func look(after end: UInt64) {
    watch.asyncAfter(deadline: .now() + Self.patience / .seconds(1)) {
      let (place, end) = self.state.withLock { state -> (Int?, UInt64?) in
        let isLate = !state.waiting.isEmpty && (state.taken < end || state.stands(at: .now))
        let place = isLate ? self.start(&state) : nil
        state.isWatched = !state.waiting.isEmpty && !state.idle.isEmpty
        return (place, state.isWatched ? state.end : nil)
      }
      if let place { self.run(place) }
      if let end { self.look(after: end) }
    }
  }

  /// - Returns: who is next, and where those end who may share his transaction: it sees what was there when they came. Nil
  ///   when nobody waits, and the place is idle from now on.
  private func first(_ place: Int) -> (Job, UInt64)? {
    state.withLock { state in
      let end = state.end
      if let job = state.take(place, before: end) { return (job, end) }
      state.busy[place] = nil
      state.idle.append(place)
      return nil
    }
  }

  private func perform(_ first: Job, _ place: Int, before end: UInt64) {
    var next: Job? = first
    do {
      try pool.read { database in
        var count = 0
        while let job = next {
          job.perform(.success(database))
          count += 1
          // Some errors end the transaction, and what came next would have one of its own.
          let goesOn = count < Self.maximumGroup && database.isInsideTransaction
          next = goesOn ? state.withLock { $0.take(place, before: end) } : nil
        }
      }
    } catch {
      // Where only the end fails all have read what they wanted.
      next?.perform(.failure(error))
    }
  }
}
