package import Store

extension ReplicaSession.Work {
  /// Does the work on the sink, and reports where the sink stands then. May block.
  ///
  /// What a welcome asks of the node's own records (cluster, term) is the shell's to do first.
  package func perform(on sink: any ReplicationSink) throws(StoreError) -> SinkState {
    switch self {
    case .prepare(let preparation):
      switch preparation.plan {
      case .stream: break
      case .truncate(let common): try sink.truncate(after: common)
      case .reset(let base): try sink.reset(to: base, databases: preparation.databases)
      }
    case .append(let batch): try sink.append(batch)
    case .beginSnapshot(let begin): try sink.beginSnapshot(begin)
    case .addSnapshot(let database, let pages): try sink.addSnapshot(database, pages)
    case .endSnapshot(let database, let end): try sink.endSnapshot(database, end)
    case .dropDatabase(let database): try sink.dropUnknown(database)
    }
    return SinkState(sink)
  }
}
