import Logging
import ServiceLifecycle
import Testing

@testable import Node

@Suite(.timeLimit(.minutes(1))) struct EndingWatchTests {
  /// Ends when it is let go, and not before.
  private struct Stubborn: Service {
    let onStart: @Sendable () -> Void
    let release: AsyncStream<Void>

    func run() async throws {
      onStart()
      for await _ in release {}
    }
  }

  private struct Prompt: Service {
    func run() async throws { try await gracefulShutdown() }
  }

  @Test func whatANodeWaitsForWhileItEndsIsSaid() async {
    let (lines, said) = AsyncStream<String>.makeStream()
    let handler = NodeLogHandler(
      label: "halite.test",
      configuration: LogConfiguration(format: .text, level: .info),
      write: { said.yield($0) },
      now: { 0 }
    )
    let watch = EndingWatch(
      logger: Logger(label: "halite.test") { _ in handler },
      patience: .milliseconds(20)
    )
    let (release, releasing) = AsyncStream<Void>.makeStream()
    let (starts, started) = AsyncStream<Void>.makeStream()
    let stubborn = Stubborn(onStart: { started.finish() }, release: release)
    let services = [
      NodeService(name: "not asked yet", service: Prompt()),
      NodeService(name: "stubborn", service: stubborn),
      NodeService(name: "prompt", service: Prompt()),
    ]
    let group = ServiceGroup(
      configuration: .init(services: services.map(watch.watched), logger: .silent)
    )
    await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { await watch.run() }
      tasks.addTask { try await group.run() }
      for await _ in starts {}
      await group.triggerGracefulShutdown()
      // On a busy machine the other one may be named first, and the one that is not asked yet never.
      for await line in lines {
        #expect(
          line.contains("the node is ending and waits for=") && !line.contains("asked"),
          "\(line)"
        )
        if line.hasSuffix("=stubborn\n") { break }
      }
      releasing.finish()
      tasks.cancelAll()
      while let end = await tasks.nextResult() { _ = end }
    }
  }
}
