import Foundation
import Logging
import Synchronization
import Testing

@testable import FuseFS

/// A mount of a plain backend for the length of a test.
struct TestMount: Sendable {
  let directory: String
  let tree: String
  let backend: PlainBackend
  let mount: FuseMount

  private static let prefix = "halite-fuse-tests-"
  private static let counter = Atomic(0)
  private static let base = URL(fileURLWithPath: NSTemporaryDirectory()).resolvingSymlinksInPath()

  /// What earlier runs left behind, found by the names given here; done once a run.
  private static let cleaned: Void = {
    let table = MountTable.read().entries.filter { $0.point.contains("/\(prefix)") }
    for entry in table.reversed() {
      _ = FuseConnection(number: entry.minor).abort()
      umount2(entry.point, Int32(MNT_DETACH))
    }
    let names = (try? FileManager.default.contentsOfDirectory(atPath: base.path)) ?? []
    for name in names where name.hasPrefix(prefix) {
      try? FileManager.default.removeItem(at: base.appendingPathComponent(name))
    }
  }()

  /// A fresh directory `.../data` to serve and a path `.../mnt` to mount at.
  static func directories() throws -> (root: String, tree: String, directory: String) {
    cleaned
    let number = counter.add(1, ordering: .relaxed).newValue
    let root = base.appendingPathComponent("\(prefix)\(getpid())-\(number)").path
    try FileManager.default.createDirectory(
      atPath: "\(root)/data",
      withIntermediateDirectories: true
    )
    // Other users come this way in some tests.
    chmod(root, 0o755)
    chmod("\(root)/data", 0o777)
    return (root, "\(root)/data", "\(root)/mnt")
  }

  static func with(
    passthrough: Bool = true,
    allowOther: Bool = false,
    _ body: (TestMount) async throws -> Void
  ) async throws {
    let (root, tree, directory) = try directories()
    let backend = PlainBackend(tree: tree)
    var logger = Logger(label: "test")
    logger.logLevel = .warning
    let mount = try FuseMount(
      configuration: FuseMountConfiguration(
        directory: directory,
        allowOther: allowOther,
        passthrough: passthrough
      ),
      backend: backend,
      logger: logger
    )
    try await offPool { try mount.start() }
    #expect(mount.isPassthrough == passthrough)
    let this = TestMount(directory: directory, tree: tree, backend: backend, mount: mount)
    do {
      try await body(this)
    } catch {
      await this.end(root)
      throw error
    }
    await this.end(root)
  }

  private func end(_ root: String) async {
    let outcome = try? await offPool { mount.unmount() }
    #expect(outcome == .unmounted)
    if outcome != .unmounted, let entry = MountTable.read().last(at: directory) {
      _ = FuseConnection(number: entry.minor).abort()
    }
    try? FileManager.default.removeItem(atPath: root)
  }
}
