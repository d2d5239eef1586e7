import LTX
package import Store

extension PrimaryPeer {
  mutating func receive(_ request: SnapshotRequest) {
    if var collected = snapshot.takeCollected(request.id) {
      guard collected.database == request.database else {
        return violation("A snapshot request changed its database.")
      }
      guard collected.checksums.count + request.checksums.count <= WireLimit.checksums else {
        return violation("A snapshot request has more than \(WireLimit.checksums) checksums.")
      }
      collected.checksums += request.checksums
      collected.isLast = request.isLast
      take(collected)
    } else {
      // Growing ids tell a late answer to an old request from one to the new.
      guard request.id > snapshot.id else {
        return violation("A snapshot request has an id that was used before.")
      }
      // The replica gave up the one before.
      if let id = snapshot.stop() { outbox.append(.dropSnapshot(id)) }
      take(request)
    }
  }

  private mutating func take(_ request: SnapshotRequest) {
    snapshot.collect(request)
    guard request.isLast else { return }
    snapshot.open()
    outbox.append(
      .openSnapshot(request.id, database: request.database, checksums: request.checksums)
    )
  }

  /// The answer to `.openSnapshot`.
  package mutating func opened(_ id: UInt32, _ result: Result<SnapshotBegin, StoreError>) {
    guard isStreaming, snapshot.isServing(id), case .opening = snapshot.state else {
      if snapshot.id != id { outbox.append(.dropSnapshot(id)) }
      return
    }
    switch result {
    case .success(let begin):
      snapshot.opened(begin)
      outbox.append(.send(.snapshotBegin(id, begin)))
    case .failure(let error): failed(id, error)
    }
  }

  /// The answer to `.readSnapshot`: nil after the last page.
  package mutating func pages(_ id: UInt32, _ result: Result<[SnapshotPage]?, StoreError>) {
    guard isStreaming, snapshot.isServing(id), case .sending(let begin) = snapshot.state else {
      return
    }
    switch result {
    case .success(let chunk?):
      let size = Int(begin.pageSize)
      guard !chunk.isEmpty, chunk.allSatisfy({ $0.bytes.count == size && $0.number.rawValue > 0 }),
        chunk.count <= Frame.maxPayload / (size + 8)
      else {
        return failed(
          id,
          StoreError(.invalid, "A snapshot of \(begin.database) gave pages of a wrong size.")
        )
      }
      snapshot.read(chunk)
    case .success(nil):
      snapshot.exhausted(begin)
      outbox.append(.endSnapshot(id))
    case .failure(let error): failed(id, error)
    }
  }

  /// The answer to `.endSnapshot`.
  package mutating func ended(_ id: UInt32, _ result: Result<SnapshotEnd, StoreError>) {
    guard isStreaming, snapshot.isServing(id), case .ending(let begin) = snapshot.state else {
      return
    }
    switch result {
    case .success(let end): snapshot.ended(begin, end)
    case .failure(let error): failed(id, error)
    }
  }

  private mutating func failed(_ id: UInt32, _ error: StoreError) {
    if let open = snapshot.stop() { outbox.append(.dropSnapshot(open)) }
    let reason: SnapshotFailure.Reason = error.code == .notFound ? .notFound : .failed
    outbox.append(
      .send(.snapshotFailure(id, SnapshotFailure(reason: reason, text: error.message)))
    )
  }

  /// The snapshot under way: its database, the pages sent and those to send.
  package var snapshotProgress: SnapshotProgress? {
    snapshot.begin.map {
      SnapshotProgress(
        database: $0.database,
        donePages: snapshot.sentPages,
        totalPages: $0.differing
      )
    }
  }
}
