internal import Glibc

/// The release of the kernel, as `uname` gives it.
struct KernelRelease: Sendable {
  /// As `6.18.44-amd64`.
  let text: String

  static var running: KernelRelease {
    var names = utsname()
    uname(&names)
    let text = withUnsafePointer(to: &names.release) { pointer in
      pointer.withMemoryRebound(
        to: CChar.self,
        capacity: MemoryLayout.size(ofValue: pointer.pointee)
      ) { String(cString: $0) }
    }
    return KernelRelease(text: text)
  }

  func isAtLeast(_ major: Int, _ minor: Int) -> Bool {
    let parts = text.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
    return parts.count == 2 && (parts[0], parts[1]) >= (major, minor)
  }
}
