package import LTX
package import Store

/// `halite ltx dump|verify`: reads LTX files and reports on them, without a running node.
package struct LTXInspection: Sendable {
  package enum Action: Sendable { case dump, verify }

  package var action: Action
  package var form: LTXReport.Form

  package init(action: Action, form: LTXReport.Form) {
    self.action = action
    self.form = form
  }

  /// Reports on each file in turn; one that is damaged or cannot be read does not stop the rest.
  ///
  /// - Parameters:
  ///   - paths: absolute.
  ///   - write: takes the report piece by piece.
  /// - Returns: true when every file is whole; the command's exit code is 0 then, else 1.
  package func report(
    on paths: [String],
    disk: some Disk,
    write: (String) -> Void
  ) -> Bool {
    var areWhole = true
    for path in paths {
      let source = LTXFileSource(path, on: disk)
      let isWhole =
        switch action {
        case .dump: LTXReport.dump(source, name: path, form: form, write: write)
        case .verify: LTXReport.verify(source, name: path, form: form, write: write)
        }
      if !isWhole { areWhole = false }
    }
    return areWhole
  }
}

/// A file on disk, opened when it is first read, so that a missing one is reported like a damaged
/// one.
package struct LTXFileSource<Volume: Disk>: LTXByteSource {
  private let path: String
  private let disk: Volume
  private var file: (any DiskFile)?
  private var offset: Int64 = 0

  package init(_ path: String, on disk: Volume) {
    self.path = path
    self.disk = disk
  }

  package mutating func read(
    into buffer: UnsafeMutableRawBufferPointer
  ) throws(StoreError) -> Int {
    let file = if let file { file } else { try disk.open(path, []) }
    self.file = file
    let count = try file.read(into: buffer, at: offset)
    offset += Int64(count)
    return count
  }
}
