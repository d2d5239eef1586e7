import Foundation
import Logging
import ServiceLifecycle
import Testing

@testable import Node

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Serialized: signals sent to this process are seen by every service that forwards them.
@Suite(.serialized, .timeLimit(.minutes(5))) struct ProcessTests {
  private static let environment = ["PATH": "/usr/bin:/bin", "GREETING": "hello"]
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func shell(_ script: String) -> [String] { ["sh", "-c", script] }

  private func start(_ script: String) throws -> ChildProcess {
    try ChildProcess(shell(script), environment: Self.environment)
  }

  /// Waits until a file that a program makes is there.
  private func appearance(of name: String) async throws {
    let path = directory.path + "/" + name
    let deadline = ContinuousClock.now + .seconds(120)
    while !FileManager.default.fileExists(atPath: path) {
      try #require(ContinuousClock.now < deadline, "\(name) did not appear")
      await Task.yield()
    }
  }

  private func text(_ name: String) throws -> String {
    try String(contentsOfFile: directory.path + "/" + name, encoding: .utf8)
  }

  @Test(arguments: [0, 1, 7, 255])
  func exitCodesArePassedOn(code: Int32) async throws {
    #expect(try await start("exit \(code)").wait() == .code(code))
  }

  @Test func aSignalIsAnEndOfItsOwn() async throws {
    let exit = try await start("kill -9 $$").wait()
    #expect(exit == .signal(9))
    #expect(exit.code == 137)
  }

  @Test func theProgramGetsItsEnvironmentAndNothingElse() async throws {
    let open = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/null"))
    defer { withExtendedLifetime(open) {} }
    let exit = try await start(
      "cd \(directory.path) && ls /proc/self/fd > fds && echo $GREETING > env "
        + "&& cut -d' ' -f5 /proc/$$/stat > group && echo $$ > self "
        + "&& grep -E 'SigBlk|SigIgn' /proc/self/status > signals"
    ).wait()
    #expect(exit == .code(0))
    // 3 is the directory that ls reads.
    #expect(try text("fds").split(separator: "\n") == ["0", "1", "2", "3"])
    #expect(try text("env") == "hello\n")
    #expect(
      try text("group").trimmingCharacters(in: .whitespacesAndNewlines)
        == text("self").trimmingCharacters(in: .whitespacesAndNewlines)
    )
    let sets = try text("signals").split(whereSeparator: \.isWhitespace)
      .compactMap { UInt64($0, radix: 16) }
    try #require(sets.count == 2)
    #expect(sets[0] == 0)
    // 32 and 33 are the C library's own, and it ignores them in every program it starts.
    #expect(sets[1] & 0x7fff_ffff == 0)
  }

  @Test func aProgramThatIsNotThere() throws {
    let error = #expect(throws: ChildProcessError.self) {
      try ChildProcess(["/no/such/program"], environment: [:])
    }
    #expect(
      error?.description == "cannot run /no/such/program: No such file or directory; check the "
        + "command after -- or in exec"
    )
  }

  @Test func aSignalReachesTheWholeGroup() async throws {
    let child = try start(
      "trap 'echo outer >> \(directory.path)/log; exit 3' TERM; "
        + "sh -c 'trap \"echo inner >> \(directory.path)/log; exit\" TERM; "
        + "touch \(directory.path)/ready; while :; do sleep 0.05; done' & "
        + "wait"
    )
    try await appearance(of: "ready")
    let exit = await child.terminate(grace: .seconds(120))
    #expect(exit == .code(3))
    try await appearance(of: "log")
    #expect(try text("log").contains("outer"))
  }

  @Test func aProgramThatDoesNotEndIsKilled() async throws {
    let child = try start(
      "trap '' TERM; touch \(directory.path)/ready; while :; do sleep 0.05; done"
    )
    try await appearance(of: "ready")
    #expect(await child.terminate(grace: .milliseconds(50)) == .signal(SIGKILL))
    // Nobody is hit by a signal that comes too late.
    child.signal(SIGKILL)
  }

  private func service(_ scripts: [String], grace: Duration = .seconds(120)) -> ExecService {
    ExecService(
      commands: scripts.map { ExecCommand(arguments: shell($0)) },
      isCandidate: true,
      grace: grace,
      logger: .silent,
      environment: Self.environment
    )
  }

  @Test func commandsRunOneAfterTheOther() async throws {
    let service = service([
      "echo 1 >> \(directory.path)/log", "echo 2 >> \(directory.path)/log; exit 5",
      "echo 3 >> \(directory.path)/log",
    ])
    try await service.run()
    #expect(service.exitCode == 5)
    #expect(try text("log") == "1\n2\n")
  }

  @Test func candidatesHaveCommandsOfTheirOwn() async throws {
    let service = ExecService(
      commands: [
        ExecCommand(arguments: shell("exit 9"), onlyIfCandidate: true),
        ExecCommand(arguments: shell("exit 0")),
      ],
      isCandidate: false,
      grace: .seconds(1),
      logger: .silent,
      environment: Self.environment
    )
    try await service.run()
    #expect(service.exitCode == 0)
  }

  @Test func aCommandThatCannotBeRunHasTheShellsCode() async throws {
    let service = ExecService(
      commands: [ExecCommand(arguments: ["/no/such/program"])],
      isCandidate: true,
      grace: .seconds(1),
      logger: .silent,
      environment: [:]
    )
    try await service.run()
    #expect(service.exitCode == 127)
  }

  @Test func aShutdownEndsTheCommandFirst() async throws {
    let service = service([
      "trap 'echo ended > \(directory.path)/ended; exit 4' TERM; "
        + "touch \(directory.path)/ready; while :; do sleep 0.05; done", "exit 0",
    ])
    let group = ServiceGroup(
      configuration: .init(services: [.init(service: service)], logger: .silent)
    )
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { try? await group.run() }
      try await appearance(of: "ready")
      await group.triggerGracefulShutdown()
      try await tasks.waitForAll()
    }
    #expect(service.exitCode == 4)
    #expect(try text("ended") == "ended\n")
  }

  @Test func signalsArePassedOn() async throws {
    let service = service([
      "trap 'echo usr1 > \(directory.path)/usr1' USR1; trap 'exit 6' HUP; "
        + "touch \(directory.path)/ready; while :; do sleep 0.05; done"
    ])
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { try await service.run() }
      try await appearance(of: "ready")
      kill(getpid(), SIGUSR1)
      try await appearance(of: "usr1")
      kill(getpid(), SIGHUP)
      try await tasks.waitForAll()
    }
    #expect(service.exitCode == 6)
  }
}
