import Logging
import ServiceLifecycle
import Synchronization

/// Says what a node waits for while it ends, when that takes longer than it should.
final class EndingWatch: Sendable {
  private struct Entry: Sendable {
    let name: String
    let asked: ContinuousClock.Instant
  }

  private let waiting = Mutex<[Entry]>([])
  private let logger: Logger
  private let patience: Duration

  /// - Parameter patience: what ends well has ended by then, also on a slow disk.
  init(logger: Logger, patience: Duration = .seconds(5)) {
    self.logger = logger
    self.patience = patience
  }

  /// Looks until the task is cancelled.
  func run() async {
    while (try? await Task.sleep(for: patience)) != nil {
      let late = ContinuousClock.now - patience
      let names = waiting.withLock { $0.filter { $0.asked <= late }.map(\.name) }
      guard !names.isEmpty else { continue }
      logger.warning(
        "the node is ending and waits",
        metadata: ["for": "\(names.joined(separator: ", "))"]
      )
    }
  }

  func begin(_ name: String) {
    waiting.withLock { waiting in
      guard !waiting.contains(where: { $0.name == name }) else { return }
      waiting.append(Entry(name: name, asked: .now))
    }
  }

  func end(_ name: String) {
    waiting.withLock { $0.removeAll { $0.name == name } }
  }

  /// The service, watched from the moment when it is told to end.
  func watched(_ part: NodeService) -> ServiceGroupConfiguration.ServiceConfiguration {
    .init(service: Watched(part: part, watch: self), serviceName: part.name)
  }

  private struct Watched: Service {
    let part: NodeService
    let watch: EndingWatch

    func run() async throws {
      defer { watch.end(part.name) }
      try await withTaskCancellationOrGracefulShutdownHandler {
        try await part.service.run()
      } onCancelOrGracefulShutdown: {
        watch.begin(part.name)
      }
    }
  }
}

/// A service of a node and what operators call it.
struct NodeService {
  let name: String
  let service: any Service
}
