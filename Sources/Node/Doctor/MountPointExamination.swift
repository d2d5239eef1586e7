import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// The directory the mount will cover.
struct MountPointExamination {
  let directory: String
  let isRunning: Bool

  func finding() -> DoctorFinding {
    let subject = "fuse.dir"
    let attributes: [FileAttributeKey: Any]
    do {
      attributes = try FileManager.default.attributesOfItem(atPath: directory)
    } catch {
      guard access(directory, F_OK) != 0 else {
        return DoctorFinding(
          subject,
          .fail,
          "\(directory): \(error)",
          remedy: "let this user reach the directory"
        )
      }
      switch errno {
      case ENOENT: return missing(subject)
      case ENOTCONN, ECONNABORTED:
        return DoctorFinding(
          subject,
          .warn,
          "\(directory): a mount whose node is gone",
          remedy: "`halite mount` replaces it; or `fusermount3 -u -z \(directory)`"
        )
      case let number:
        return DoctorFinding(
          subject,
          .fail,
          "\(directory): \(String(cString: strerror(number)))",
          remedy: "let this user reach the directory"
        )
      }
    }
    guard attributes[.type] as? FileAttributeType == .typeDirectory else {
      return DoctorFinding(
        subject,
        .fail,
        "\(directory) is not a directory",
        remedy: "give another \"fuse.dir\""
      )
    }
    if isMountPoint() {
      return isRunning
        ? DoctorFinding(subject, .ok, "\(directory): mounted")
        : DoctorFinding(
          subject,
          .warn,
          "\(directory): something else is mounted there",
          remedy: "unmount it, or give another \"fuse.dir\""
        )
    }
    let contents = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    guard contents.isEmpty else {
      return DoctorFinding(
        subject,
        .warn,
        "\(directory) has \(contents.count) files, which the mount will hide",
        remedy: "move them away; bring databases in with `halite import`"
      )
    }
    return DoctorFinding(subject, .ok, "\(directory): an empty directory")
  }

  private func missing(_ subject: String) -> DoctorFinding {
    var parent = Paths.parent(directory)
    while parent != "/", access(parent, F_OK) != 0 { parent = Paths.parent(parent) }
    guard access(parent, W_OK) == 0 else {
      return DoctorFinding(
        subject,
        .fail,
        "\(directory) does not exist, and this user cannot make it",
        remedy: "mkdir -p \(directory), and give it to this user"
      )
    }
    return DoctorFinding(subject, .ok, "\(directory) does not exist yet; it will be made")
  }

  private func isMountPoint() -> Bool {
    let path = Paths.resolved(directory)
    return MountTable.read().contains { $0.path == path }
  }
}
