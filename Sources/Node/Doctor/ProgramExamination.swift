#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// Whether the commands of `exec` can be found.
struct ProgramExamination {
  let environment: [String: String]

  func findings(_ commands: [ExecCommand]) -> [DoctorFinding] {
    commands.compactMap { command in
      guard let program = command.arguments.first else { return nil }
      guard let path = find(program) else {
        return DoctorFinding(
          "exec",
          .fail,
          "\(program) is not found",
          remedy: "give its full path, or add its directory to PATH"
        )
      }
      return DoctorFinding("exec", .ok, path)
    }
  }

  private func find(_ program: String) -> String? {
    if program.contains("/") { return access(program, X_OK) == 0 ? program : nil }
    let directories = (environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
    return directories.map { "\($0)/\(program)" }.first { access($0, X_OK) == 0 }
  }
}
