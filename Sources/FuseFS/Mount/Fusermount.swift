internal import Glibc

/// libfuse's set-user-ID helper, with which ordinary users mount and unmount.
enum Fusermount {
  private static let places = ["/usr/bin", "/bin", "/usr/local/bin"]

  static var path: String? {
    places.map { "\($0)/fusermount3" }.first { access($0, X_OK) == 0 }
  }

  static func unmount(_ directory: String, lazily: Bool) -> Bool {
    guard let path else { return false }
    let arguments = [path, "-u", "-q"] + (lazily ? ["-z"] : []) + ["--", directory]
    var vector = arguments.map { strdup($0) } + [nil]
    defer { for argument in vector { free(argument) } }
    var process = pid_t()
    guard posix_spawn(&process, path, nil, nil, &vector, environ) == 0 else { return false }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 {
      if errno != EINTR { return false }
    }
    return status == 0
  }
}
