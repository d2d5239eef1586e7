import Foundation

@testable import Store

/// What a disk holds for certain, and what is on its way there.
///
/// The rules are those that POSIX gives and no more: only `sync` makes the bytes and the size of a
/// file durable, only `syncDirectory` its name. Until then a write may arrive in whole, in some of
/// its sectors or not at all, and before or after any other; changes of names arrive in order, in
/// each directory as far as it comes, a rename in both its directories or in neither.
struct CrashState: Sendable {
  static let sector = 512

  enum Change: Sendable {
    case write(at: Int, [UInt8])
    case truncate(Int)
  }

  struct File: Sendable {
    var durable: [UInt8] = []
    var pending: [Change] = []
  }

  enum NameChange: Sendable {
    case link(String, file: Int)
    case unlink(String)
    case rename(String, String)

    /// The directories of which it changes the entries.
    var directories: [String] {
      switch self {
      case .link(let path, _), .unlink(let path): [parent(path)]
      case .rename(let from, let to): [parent(from), parent(to)]
      }
    }

    private func parent(_ path: String) -> String {
      path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
    }
  }

  private(set) var files: [Int: File] = [:]
  /// Durable names.
  private(set) var names: [String: Int] = [:]
  private(set) var renaming: [NameChange] = []
  /// A directory is not what these tests are about: it is durable when it is made.
  private(set) var directories: Set<String> = []
  private(set) var promised = LogIndex.zero
  private(set) var isBoundary = true

  mutating func add(_ path: String, _ bytes: [UInt8]) {
    names[path] = files.count
    files[files.count] = File(durable: bytes)
    if let slash = path.lastIndex(of: "/") { directories.insert(String(path[..<slash])) }
  }

  /// Whether a crash now leaves only one possible disk.
  var isCertain: Bool { renaming.isEmpty && files.values.allSatisfy { $0.pending.isEmpty } }

  mutating func perform(_ operation: CrashDisk.Operation) {
    if case .boundary = operation {
      isBoundary = true
      return
    }
    isBoundary = false
    switch operation {
    case .link(let path, let file):
      files[file] = File()
      renaming.append(.link(path, file: file))
    case .unlink(let path): renaming.append(.unlink(path))
    case .rename(let from, let to): renaming.append(.rename(from, to))
    case .makeDirectory(let path): directories.insert(path)
    case .syncDirectory(let path): settle(path)
    case .write(let file, let offset, let bytes):
      files[file]?.pending.append(.write(at: offset, bytes))
    case .truncate(let file, let size): files[file]?.pending.append(.truncate(size))
    case .sync(let file):
      guard var found = files[file] else { return }
      // Out of the table while it changes, so that its bytes are not copied.
      files[file] = nil
      for change in found.pending { Self.apply(change, to: &found.durable) }
      found.pending = []
      files[file] = found
    case .promise(let index): promised = max(promised, index)
    case .retract(let index): promised = min(promised, index)
    case .boundary: break
    }
  }

  /// Makes the names in a directory durable, and with a rename what came before it elsewhere.
  private mutating func settle(_ directory: String) {
    var settling: Set<String> = [directory]
    var chosen: Set<Int> = []
    for (number, change) in renaming.enumerated().reversed()
    where !settling.isDisjoint(with: change.directories) {
      settling.formUnion(change.directories)
      chosen.insert(number)
    }
    for (number, change) in renaming.enumerated() where chosen.contains(number) {
      Self.apply(change, to: &names)
    }
    renaming = renaming.enumerated().filter { !chosen.contains($0.offset) }.map(\.element)
  }

  static func apply(_ change: Change, to bytes: inout [UInt8]) {
    switch change {
    case .write(let offset, let content): put(content[...], at: offset, into: &bytes)
    case .truncate(let size): resize(&bytes, to: size)
    }
  }

  static func put(_ content: ArraySlice<UInt8>, at offset: Int, into bytes: inout [UInt8]) {
    if bytes.count < offset + content.count { resize(&bytes, to: offset + content.count) }
    bytes.withUnsafeMutableBytes { target in
      content.withUnsafeBytes { source in
        UnsafeMutableRawBufferPointer(rebasing: target[offset..<(offset + source.count)])
          .copyMemory(from: source)
      }
    }
  }

  static func resize(_ bytes: inout [UInt8], to size: Int) {
    if size < bytes.count { bytes.removeLast(bytes.count - size) }
    if size > bytes.count { bytes += [UInt8](repeating: 0, count: size - bytes.count) }
  }

  static func apply(_ change: NameChange, to names: inout [String: Int]) {
    switch change {
    case .link(let path, let file): names[path] = file
    case .unlink(let path): names[path] = nil
    case .rename(let from, let to):
      for (path, file) in names where path == from || path.hasPrefix(from + "/") {
        names[path] = nil
        names[to + path.dropFirst(from.count)] = file
      }
    }
  }
}
