package import Store

/// What the shell reports about the sink after each piece of work.
package struct SinkState: Sendable {
  package var progress: ReplicaProgress
  /// Databases whose pages must be fetched.
  package var repairs: [String]

  package init(progress: ReplicaProgress, repairs: [String]) {
    self.progress = progress
    self.repairs = repairs
  }

  /// Asks the sink. May block.
  package init(_ sink: any ReplicationSink) {
    progress = sink.progress()
    repairs = progress.repairing > 0 ? sink.databasesToRepair() : []
  }
}
