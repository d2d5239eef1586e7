import Foundation
import Synchronization
import Testing

@testable import FuseFS

/// Processes of other programs. Whatever touches a mount runs in one, under a time limit: a
/// request that is never answered then costs a process, not the tests.
enum Child {
  struct Result: Sendable {
    var status: Int32
    var output: String
    var timedOut: Bool
    var succeeded: Bool { status == 0 && !timedOut }
  }

  /// Runs a program to its end, or kills its process group when the time is over.
  static func run(_ arguments: [String], seconds: Double = 60) async throws -> Result {
    try await offPool {
      let path = "\(NSTemporaryDirectory())/halite-fuse-child-\(UUID().uuidString)"
      defer { unlink(path) }
      var actions = posix_spawn_file_actions_t()
      posix_spawn_file_actions_init(&actions)
      defer { posix_spawn_file_actions_destroy(&actions) }
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
      posix_spawn_file_actions_addopen(&actions, 1, path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      posix_spawn_file_actions_adddup2(&actions, 1, 2)
      var attributes = posix_spawnattr_t()
      posix_spawnattr_init(&attributes)
      defer { posix_spawnattr_destroy(&attributes) }
      var none = sigset_t()
      sigemptyset(&none)
      posix_spawnattr_setsigmask(&attributes, &none)
      posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))
      var vector = (["/usr/bin/env"] + arguments).map { strdup($0) } + [nil]
      defer { for argument in vector { free(argument) } }
      var process = pid_t()
      let spawned = posix_spawn(&process, "/usr/bin/env", &actions, &attributes, &vector, environ)
      guard spawned == 0 else { throw SystemCallError(spawned) }
      let status = Condition<Int32?>(nil)
      let child = process
      try NativeThread.start {
        var result: Int32 = 0
        while waitpid(child, &result, 0) < 0, errno == EINTR {}
        status.update { $0 = result }
      }
      let ended = status.wait(seconds: seconds) { $0 }
      if ended == nil { kill(-process, SIGKILL) }
      let output = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
      return Result(status: ended ?? -1, output: output, timedOut: ended == nil)
    }
  }

  /// Runs a Python program that exits with an exception when something is not as it should be.
  static func python(
    _ source: String,
    _ arguments: [String] = [],
    seconds: Double = 60,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> String {
    let result = try await run(
      ["/usr/bin/python3", "-c", prelude + source] + arguments,
      seconds: seconds
    )
    #expect(
      result.succeeded,
      "\(result.timedOut ? "timed out: " : "")\(result.output)",
      sourceLocation: sourceLocation
    )
    return result.output
  }

  /// What the programs share: constants of fcntl that Python lacks, and `child`, which runs a
  /// function in a forked process that is told to go on and reports back through pipes.
  private static let prelude = """
    import errno, fcntl, mmap, os, signal, sqlite3, struct, subprocess, sys, threading, time
    mnt = sys.argv[1] if len(sys.argv) > 1 else None
    F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
    def flock(kind, start, length, pid=0):
        return struct.pack('hhqqi4x', kind, 0, start, length, pid)
    def ofd(fd, kind, start, length, wait=False):
        fcntl.fcntl(fd, F_OFD_SETLKW if wait else F_OFD_SETLK, flock(kind, start, length))
    def posix(fd, kind, start, length, wait=False):
        fcntl.fcntl(fd, fcntl.F_SETLKW if wait else fcntl.F_SETLK, flock(kind, start, length))
    R, W, U = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
    def fails(number, body, *args):
        try:
            body(*args)
        except OSError as e:
            assert e.errno == number, (e.errno, number)
            return
        assert False, 'should have failed with %s' % errno.errorcode[number]
    def blocked(pid):             # until the process waits for the answer to a request
        while 'wait_answer' not in open('/proc/%d/wchan' % pid).read(): time.sleep(0.01)
    class child:
        def __init__(self, body, *args):
            self.down, self.up = os.pipe(), os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                code = 1
                try:
                    os.close(self.down[1]); os.close(self.up[0])
                    body(self, *args)
                    code = 0
                except BaseException as e:
                    import traceback; traceback.print_exc()
                finally:
                    os._exit(code)
            os.close(self.down[0]); os.close(self.up[1])
        def say(self, word='x'):      # in the child
            os.write(self.up[1], word.encode())
        def listen(self):             # in the child
            return os.read(self.down[0], 1).decode()
        def tell(self, word='x'):     # in the parent
            os.write(self.down[1], word.encode())
        def hear(self):               # in the parent
            return os.read(self.up[0], 1).decode()
        def join(self):
            assert os.waitpid(self.pid, 0)[1] == 0
        def kill(self):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    """
}

/// Runs blocking work on a thread of its own, never on the concurrency pool.
func offPool<Value: Sendable>(
  _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    do {
      try NativeThread.start {
        continuation.resume(with: Result { try body() })
      }
    } catch {
      continuation.resume(throwing: error)
    }
  }
}
