package import Store

extension PrimaryPeer {
  /// The answer to `.recent`: nil when the entries must be read from disk.
  package mutating func recent(_ batch: LogBatch?, at now: ContinuousClock.Instant) {
    guard isStreaming else { return }
    guard let batch else {
      log.beganReading()
      outbox.append(.readLog(from: log.sent.next, maxBytes: limits.chunk))
      return
    }
    send(batch, at: now)
  }

  /// The answer to `.readLog`.
  package mutating func read(
    _ result: Result<LogBatch, StoreError>,
    at now: ContinuousClock.Instant
  ) {
    guard isStreaming else { return }
    log.endedReading()
    switch result {
    case .success(let batch): send(batch, at: now)
    case .failure(let error) where error.code == .notFound:
      say(
        .behind,
        "Entry \(log.sent.next) is no longer in this primary's log.",
        code: .behind
      )
    case .failure(let error):
      outbox.append(
        .send(.goodbye(Goodbye(reason: .failure, text: "The log cannot be read.")))
      )
      close(
        ReplicationError(
          .store,
          "The log cannot be read from entry \(log.sent.next) on.",
          cause: error
        )
      )
    }
  }

  private mutating func send(_ batch: LogBatch, at now: ContinuousClock.Instant) {
    guard batch.last >= batch.first else {
      log.foundNothing()
      if log.tells(batch.commit) { outbox.append(.send(.entries(log.notice(of: batch.commit)))) }
      return
    }
    guard batch.first == log.sent.next,
      batch.bytes.count <= Frame.maxPayload - LogBatch.headerSize
    else {
      return say(
        .failure,
        "The log gave entries \(batch.first) to \(batch.last) of \(batch.bytes.count) bytes for"
          + " \(log.sent.next).",
        code: .store
      )
    }
    log.sending(batch, at: now)
    outbox.append(.send(.entries(batch)))
  }

  /// How long the oldest entry that the replica has not applied has been waiting.
  package func lag(at now: ContinuousClock.Instant) -> Duration { log.lag(at: now) }
}
