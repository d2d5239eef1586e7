import Glibc
import LTX
import Synchronization

extension Log {
  /// Removes whole segments all of whose entries lie before `index`.
  ///
  /// The active segment always stays.
  package func trim(before index: LogIndex) throws(StoreError) {
    let gone = state.withLock { state -> [Segment] in
      var gone: [Segment] = []
      while state.segments.count > 1, state.segments[0].last < index {
        gone.append(state.segments.removeFirst())
      }
      return gone
    }
    for segment in gone { try disk.remove(segment.path) }
  }

  /// Bytes on disk, and for each closed segment its last index, age and size, oldest first.
  package func usage() -> (
    bytes: Int64, closed: [(last: LogIndex, milliseconds: UInt64, bytes: Int64)]
  ) {
    state.withLock { state in
      let closed = state.segments.dropLast().map { ($0.last, $0.lastMilliseconds, $0.end) }
      return (state.segments.reduce(0) { $0 + $1.end }, closed)
    }
  }

  /// Cuts everything after `index` and returns it in encoded form, piece by piece, to `keep`; then calls
  /// `before`, after which it is gone.
  ///
  /// The caller must have nothing in flight that appends.
  ///
  /// - Parameter term: that of the primary whose log this is to become; nil where only one node can be the
  ///   primary.
  /// - Throws: `.readOnly`, with nothing cut, when a later term is known here.
  package func cut(
    after index: LogIndex,
    under term: Term? = nil,
    keep: (LogBatch) throws(StoreError) -> Void,
    before: () throws(StoreError) -> Void
  ) throws(StoreError) {
    let last = self.last.index
    var next = index.next
    while next <= last {
      let batch = try read(from: next, maxBytes: 1 << 20)
      try keep(batch)
      next = batch.last.next
    }
    try before()
    guard index < last else { return }
    commits.cut(to: index, isCut)
    var isDone = false
    defer { syncer.cut(to: self.last.index) }
    while !isDone {
      let replaced = state.withLock { $0.replaced }
      guard let offset = place(of: index.next)?.place.offset else {
        throw StoreError(
          .notFound,
          "the log cannot be cut after entry \(index), which it no longer holds"
        )
      }
      let result: Result<Bool, StoreError> = state.withLock { state in
        // The entry lies elsewhere in a segment that has been packed meanwhile.
        guard state.replaced == replaced else { return .success(false) }
        do throws(StoreError) {
          // A vote may have been asked for since: it counts what the log has now.
          if let term { try enter(term, &state) }
          try cutLocked(&state, after: index, at: offset)
          return .success(true)
        } catch {
          return .failure(error)
        }
      }
      isDone = try result.get()
    }
  }

  /// For who waits for an entry that another primary does not have.
  private var isCut: StoreError {
    StoreError(
      .system(EIO),
      "the transaction is not in the log of the primary, which is another node now; make it again"
    )
  }

  /// Newest first, and the file in which the cut lies last of all: a crash or an error in between
  /// leaves a log that is longer than asked for, never one with a gap. A segment that begins with
  /// the first entry cut stays, for its header remembers where the log stands.
  private func cutLocked(
    _ state: inout State,
    after index: LogIndex,
    at offset: Int64
  ) throws(StoreError) {
    state.recent.removeAll()
    while let segment = state.segments.last, segment.first > index.next {
      try disk.remove(segment.path)
      state.segments.removeLast()
      cutBack(&state, to: LogIndex(segment.first.rawValue - 1))
    }
    try disk.syncDirectory(directory)
    guard var segment = state.segments.last, segment.last > index else { return }
    try segment.file.truncate(to: offset)
    segment.end = offset
    segment.room = 0
    segment.last = index
    let kept = (segment.count + Segment.indexEvery - 1) / Segment.indexEvery
    segment.offsets = Array(segment.offsets.prefix(Int(kept)))
    state.segments[state.segments.count - 1] = segment
    cutBack(&state, to: index)
    try segment.file.sync()
  }

  private func cutBack(_ state: inout State, to index: LogIndex) {
    state.terms.removeAll { $0.first > index }
    state.last = EntryID(term: state.terms.last?.term ?? .zero, index: index)
    state.forwarded = state.forwarded.filter { $0 <= index }
  }

  /// Empties the log; the next entry is the one after `base`.
  ///
  /// - Parameter term: as for `cut`.
  package func reset(to base: EntryID, under term: Term? = nil) throws(StoreError) {
    let gone = try state.withLock { state throws(StoreError) -> [Segment] in
      if let term { try enter(term, &state) }
      let gone = state.segments
      state.segments = []
      state.terms = [TermStart(term: base.term, first: base.index)]
      state.last = base
      state.forwarded = []
      state.recent.removeAll()
      state.failed = nil
      return gone
    }
    // Oldest last: a crash in between leaves a log that is shorter, never one with a gap.
    for segment in gone.reversed() { try disk.remove(segment.path) }
    try disk.syncDirectory(directory)
    syncer.reset(to: base.index)
    commits.reset(to: base.index, isCut)
    // The base is on record at once: the segment's header carries its term and index.
    let result: Result<Void, StoreError> = state.withLock { state in
      do throws(StoreError) { return .success(try rotateIfFull(&state)) } catch {
        return .failure(error)
      }
    }
    try result.get()
    try state.withLock({ $0.segments.last?.file })?.sync()
  }
}
