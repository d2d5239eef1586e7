import Foundation
import Logging
import Testing

@testable import FuseFS

/// What a daemon finds at its mount point when it starts.
struct StaleMountTests {
  /// A mount in the name of halite whose server only shakes hands, then says so and waits.
  private static let server = """
    import ctypes, os, struct, sys, threading, time
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open('/dev/fuse', os.O_RDWR)
    options = 'fd=%d,rootmode=40000,user_id=0,group_id=0' % fd
    assert libc.mount(b'halite', sys.argv[1].encode(), b'fuse.halite', 6, options.encode()) == 0
    request = os.read(fd, 65536)
    unique = struct.unpack_from('Q', request, 8)[0]
    os.write(fd, struct.pack('IiQIIIIHHIIHH8I', 80, 0, unique, 7, 31, 65536, 0, 0, 0, 4096, 1,
             1, 0, *[0] * 8))
    if len(sys.argv) > 3:       # a thread that waits for an answer of its own process
        threading.Thread(target=os.stat, args=(sys.argv[1],)).start()
        while struct.unpack_from('I', os.read(fd, 65536), 4)[0] != 3: pass
    open(sys.argv[2], 'w').close()
    time.sleep(1000)
    """

  private func mount(_ directory: String, tree: String) throws -> FuseMount {
    try FuseMount(
      configuration: FuseMountConfiguration(directory: directory),
      backend: PlainBackend(tree: tree),
      logger: Logger(label: "test")
    )
  }

  @Test("the mounts of killed processes are removed", .timeLimit(.minutes(1)))
  func killed() async throws {
    let (root, tree, directory) = try TestMount.directories()
    defer { try? FileManager.default.removeItem(atPath: root) }
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    // Two of them, one on the other, both without a server.
    let script = """
      for n in 1 2; do
        mark=\(root)/mark$n
        /usr/bin/python3 -c "$1" \(directory) $mark & pid=$!
        while [ ! -e $mark ]; do kill -0 $pid || exit 1; sleep 0.05; done
        kill -9 $pid; wait $pid
      done
      stat \(directory) && exit 1
      exit 0
      """
    let result = try await Child.run(["bash", "-c", script, "bash", Self.server])
    #expect(result.succeeded, "\(result.output)")
    #expect(result.output.contains("not connected"))
    #expect(MountTable.read().entries.filter { $0.point == directory }.count == 2)

    let mount = try mount(directory, tree: tree)
    try await offPool { try mount.start() }
    let listing = try await Child.run(["ls", directory])
    #expect(listing.succeeded)
    #expect(MountTable.read().entries.filter { $0.point == directory }.count == 1)
    #expect(try await offPool { mount.unmount() } == .unmounted)
    #expect(MountTable.read().last(at: directory) == nil)
  }

  @Test("a mount that works is left alone", .timeLimit(.minutes(1)))
  func healthy() async throws {
    try await TestMount.with { first in
      let (root, tree, _) = try TestMount.directories()
      defer { try? FileManager.default.removeItem(atPath: root) }
      let second = try mount(first.directory, tree: tree)
      let error = await #expect(throws: FuseError.self) {
        try await offPool { try second.start() }
      }
      #expect(error?.code == .busy)
      _ = try await Child.python("open(mnt + '/still', 'w').write('there')", [first.directory])
    }
  }

  @Test("a mount whose server lives but does not answer is left alone", .timeLimit(.minutes(1)))
  func silent() async throws {
    let (root, tree, directory) = try TestMount.directories()
    defer { try? FileManager.default.removeItem(atPath: root) }
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    let script = """
      /usr/bin/python3 -c "$1" \(directory) \(root)/mark & pid=$!
      while [ ! -e \(root)/mark ]; do kill -0 $pid || exit 1; sleep 0.05; done
      while [ ! -e \(root)/over ]; do sleep 0.05; done
      kill -9 $pid; wait $pid
      umount -l \(directory)
      """
    async let running = Child.run(["bash", "-c", script, "bash", Self.server])
    let other = try mount(directory, tree: tree)
    let marked = try await Child.run(
      ["bash", "-c", "while [ ! -e \(root)/mark ]; do sleep 0.05; done"],
      seconds: 20
    )
    #expect(marked.succeeded)
    let error = await #expect(throws: FuseError.self) { try await offPool { try other.start() } }
    #expect(error?.code == .busy)
    #expect(error?.message.contains("/abort") == true)
    #expect(FileManager.default.createFile(atPath: "\(root)/over", contents: nil))
    let result = try await running
    #expect(!result.timedOut, "\(result.output)")
    #expect(MountTable.read().last(at: directory) == nil)
  }

  /// A killed process that waits in the kernel for its own answer never ends, and keeps the
  /// connection; whoever uses the mount then hangs.
  @Test("a killed process that cannot end is helped to", .timeLimit(.minutes(1)))
  func undead() async throws {
    let (root, tree, directory) = try TestMount.directories()
    defer { try? FileManager.default.removeItem(atPath: root) }
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    let script = """
      /usr/bin/python3 -c "$1" \(directory) \(root)/mark hang & pid=$!
      while [ ! -e \(root)/mark ]; do kill -0 $pid || exit 1; sleep 0.05; done
      kill -9 $pid; echo $pid > \(root)/killed; wait $pid
      [ $? = 137 ]
      """
    async let running = Child.run(["bash", "-c", script, "bash", Self.server], seconds: 40)
    let killed = try await Child.run(
      ["bash", "-c", "while [ ! -s \(root)/killed ]; do sleep 0.05; done"],
      seconds: 20
    )
    #expect(killed.succeeded)
    let stuck = try await Child.run(
      [
        "bash", "-c",
        "until grep ') D ' /proc/$(cat \(root)/killed)/task/*/stat; do sleep 0.05; done",
      ],
      seconds: 20
    )
    #expect(stuck.succeeded, "the process should hang in the kernel")
    let mount = try mount(directory, tree: tree)
    try await offPool { try mount.start() }
    let result = try await running
    #expect(result.succeeded, "\(result.output)")
    #expect(try await offPool { mount.unmount() } == .unmounted)
  }

  @Test("a mount in use is detached, and ends with its last file", .timeLimit(.minutes(1)))
  func busy() async throws {
    let (root, tree, directory) = try TestMount.directories()
    defer { try? FileManager.default.removeItem(atPath: root) }
    let mount = try mount(directory, tree: tree)
    try await offPool { try mount.start() }
    async let user = Child.python(
      """
      f = open(mnt + '/file', 'w')
      open(sys.argv[2] + '/mark', 'w').close()
      while not os.path.exists(sys.argv[2] + '/over'): time.sleep(0.02)
      f.write('after the detach'); f.close()
      """,
      [directory, root]
    )
    let marked = try await Child.run(
      ["bash", "-c", "while [ ! -e \(root)/mark ]; do sleep 0.05; done"],
      seconds: 20
    )
    #expect(marked.succeeded)
    #expect(try await offPool { mount.unmount() } == .detached)
    #expect(FileManager.default.createFile(atPath: "\(root)/over", contents: nil))
    _ = try await user
    try await offPool { mount.waitUntilEnded() }
    let text = try String(contentsOfFile: "\(tree)/file", encoding: .utf8)
    #expect(text == "after the detach")
  }

  @Test("a connection that is broken off ends the mount", .timeLimit(.minutes(1)))
  func aborted() async throws {
    let (root, tree, directory) = try TestMount.directories()
    defer { try? FileManager.default.removeItem(atPath: root) }
    let end = Condition<FuseMountEnd?>(nil)
    let mount = try FuseMount(
      configuration: FuseMountConfiguration(directory: directory),
      backend: PlainBackend(tree: tree),
      logger: Logger(label: "test")
    ) { reason in end.update { $0 = reason } }
    try await offPool { try mount.start() }
    async let user = Child.python(
      """
      fd = os.open(mnt + '/file', os.O_RDWR | os.O_CREAT)
      posix(fd, W, 0, 1)
      def waiter(me):
          fd = os.open(mnt + '/file', os.O_RDWR)
          me.say()
          try: posix(fd, W, 0, 1, wait=True)
          except OSError as e: assert e.errno in (errno.ECONNABORTED, errno.ENOTCONN, errno.EINTR)
          else: assert False
      c = child(waiter); assert c.hear()
      open(sys.argv[2] + '/mark', 'w').close()
      c.join()
      """,
      [directory, root]
    )
    let marked = try await Child.run(
      ["bash", "-c", "while [ ! -e \(root)/mark ]; do sleep 0.05; done"],
      seconds: 20
    )
    #expect(marked.succeeded)
    let entry = try #require(MountTable.read().last(at: directory))
    #expect(FuseConnection(number: entry.minor).abort())
    let reason = try await offPool { end.wait(seconds: 20) { $0 } }
    #expect(reason?.errorNumber != nil)
    _ = try await user
    #expect(try await offPool { mount.unmount() } == .unmounted)
    #expect(MountTable.read().last(at: directory) == nil)
  }

  @Test func badMountPoints() throws {
    let (root, tree, _) = try TestMount.directories()
    defer { try? FileManager.default.removeItem(atPath: root) }
    for directory in ["/", "relative", tree, root] {
      #expect(throws: FuseError.self) { try mount(directory, tree: tree) }
    }
  }

  @Test func mountTable() {
    let table = MountTable(
      parsing: """
        36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        40 35 0:57 / /with\\040space rw,nosuid shared:1 master:2 - fuse.halite halite rw
        nonsense
        41 35 0:58 / /with\\040space rw - tmpfs tmpfs rw
        """
    )
    #expect(table.entries.map(\.point) == ["/mnt2", "/with space", "/with space"])
    #expect(table.entries[1].isHalite && table.entries[1].minor == 57)
    #expect(table.last(at: "/with space")?.type == "tmpfs")
  }
}
