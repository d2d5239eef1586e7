extension Database {
  /// Sets who is asked before a client begins to write.
  ///
  /// - Parameters:
  ///   - begin: Is asked for the lock with which a transaction begins.
  ///   - other: Is asked for what else clients may want that have begun none, a checkpoint or the end of a hot
  ///     journal, with how it is to be refused.
  func guardWriters(
    begin: @escaping @Sendable (_ answer: @escaping ParkedWriters.Answer) -> Void,
    other:
      @escaping @Sendable (_ refusal: StoreError, _ answer: @escaping ParkedWriters.Answer) ->
      Void
  ) {
    sharedMemoryLocks.setGuard(range: WALLock.writers) { request, answer in
      guard request.range.overlaps(WALLock.write) else { return other(Store.walRefusal, answer) }
      begin(answer)
    }
    let range = LockRange(MainLock.pending.start, MainLock.reserved.end)
    let locks = mainLocks
    locks.setGuard(range: range) { [weak locks] request, answer in
      if request.range.overlaps(MainLock.reserved) { return begin(answer) }
      let hasBegun =
        locks?.holds(owner: request.owner, range: MainLock.reserved, kind: .write) ?? false
      hasBegun ? answer(nil) : other(Store.mainRefusal, answer)
    }
  }
}
