import LTX

// The files that every LiteFS user knows: `.primary` exists on a replica that is connected and holds
// the primary's host name; `.lag` says how many milliseconds the node is behind; `<db>-pos` holds a
// database's position.

extension Store {
  package func virtualFile(_ path: String) -> VirtualFile? {
    switch path {
    case ".primary": return primaryFile()
    case ".lag": return lagFile()
    default:
      guard path.hasSuffix("-pos") else { return nil }
      guard let published = database(String(path.dropLast(4)))?.published,
        published.position.txid > .zero
      else { return nil }
      return VirtualFile(
        contents: Array("\(published.position)\n".utf8),
        modified: nanoseconds(published.milliseconds)
      )
    }
  }

  private func primaryFile() -> VirtualFile? {
    guard role == .replica, let primary = standing.primary else { return nil }
    return VirtualFile(
      contents: Array((primary + "\n").utf8),
      modified: nanoseconds(standing.heard)
    )
  }

  private func lagFile() -> VirtualFile {
    let standing = standing
    if role == .primary {
      return VirtualFile(
        contents: Self.lagText(0),
        modified: nanoseconds(context.clock.milliseconds)
      )
    }
    guard let lag = standing.lagMilliseconds else {
      return VirtualFile(contents: Self.lagText(Int64(Int32.max)), modified: 0)
    }
    return VirtualFile(contents: Self.lagText(lag), modified: nanoseconds(standing.heard))
  }

  /// A sign, nine digits (more where they do not suffice) and a newline.
  static func lagText(_ milliseconds: Int64) -> [UInt8] {
    let digits = String(milliseconds.magnitude)
    let padding = String(repeating: "0", count: max(0, 9 - digits.utf8.count))
    return Array((milliseconds < 0 ? "-" : "+").utf8) + Array((padding + digits + "\n").utf8)
  }

  private func nanoseconds(_ milliseconds: UInt64) -> Int64 {
    Int64(clamping: milliseconds.multipliedReportingOverflow(by: 1_000_000).partialValue)
  }
}
