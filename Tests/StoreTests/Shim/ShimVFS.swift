import CSQLite
import Foundation
import Synchronization

@testable import Store

/// A SQLite VFS that stands where the mount stands: it sends to a `MountBackend` what the kernel
/// would send to the daemon, and leaves the rest to SQLite's own unix VFS, as passthrough does.
///
/// Locks are taken twice: with the unix VFS, and in the store's table, where the daemon's own locks
/// and its observers are.
final class ShimVFS: @unchecked Sendable {
  // @unchecked: the pointers are set once; everything else is behind `shared`.
  /// What SQLite did that tests want to know.
  struct Counts: Sendable {
    var recoveries = 0
    var walWrites = 0
    var refusedLocks = 0
  }

  let name = "shim-\(UUID().uuidString)"
  let backend: any MountBackend
  let real: UnsafeMutablePointer<sqlite3_vfs>
  let methods: UnsafeMutablePointer<sqlite3_io_methods>
  private let vfs: UnsafeMutablePointer<sqlite3_vfs>
  private let cName: UnsafeMutablePointer<CChar>
  let counts = Mutex(Counts())
  /// Called before a writer gives up the WAL's WRITE lock.
  let beforeWriterLeaves = Mutex<(@Sendable () -> Void)?>(nil)
  /// Whether writes that passthrough would bring to the disk unseen go through the store's `Disk`,
  /// so that a disk that records them knows of all.
  let recordsDirectWrites: Bool
  private let nextOwner = Atomic<UInt64>(1)

  init(_ backend: any MountBackend, recordsDirectWrites: Bool = false) throws {
    guard let real = sqlite3_vfs_find("unix"), let cName = strdup(name) else {
      throw StoreError(.unsupported, "SQLite has no unix VFS")
    }
    self.backend = backend
    self.recordsDirectWrites = recordsDirectWrites
    self.real = real
    self.cName = cName
    methods = .allocate(capacity: 1)
    methods.initialize(to: ShimFile.methods)
    vfs = .allocate(capacity: 1)
    vfs.initialize(to: real.pointee)
    vfs.pointee.pNext = nil
    vfs.pointee.zName = UnsafePointer(cName)
    vfs.pointee.szOsFile = Int32(ShimFile.headBytes) + real.pointee.szOsFile
    vfs.pointee.pAppData = Unmanaged.passUnretained(self).toOpaque()
    vfs.pointee.xOpen = { vfs, name, file, flags, outFlags in
      guard let shim = ShimVFS.of(vfs), let file else { return SQLITE_MISUSE }
      return shim.open(name, file, flags, outFlags)
    }
    vfs.pointee.xDelete = { vfs, name, syncDirectory in
      guard let shim = ShimVFS.of(vfs), let name else { return SQLITE_MISUSE }
      return shim.delete(name, syncDirectory)
    }
    vfs.pointee.xAccess = { vfs, name, flags, result in
      guard let shim = ShimVFS.of(vfs), let name else { return SQLITE_MISUSE }
      return shim.access(name, flags, result)
    }
    sqlite3_vfs_register(vfs, 0)
  }

  deinit {
    sqlite3_vfs_unregister(vfs)
    vfs.deallocate()
    methods.deallocate()
    free(cName)
  }

  private static func of(_ vfs: UnsafeMutablePointer<sqlite3_vfs>?) -> ShimVFS? {
    guard let data = vfs?.pointee.pAppData else { return nil }
    return Unmanaged<ShimVFS>.fromOpaque(data).takeUnretainedValue()
  }

  func makeOwner() -> UInt64 { nextOwner.add(1, ordering: .relaxed).newValue }

  /// The path within the tree, or nil for what lies elsewhere.
  private func name(_ path: UnsafePointer<CChar>?) -> FileName? {
    guard let path else { return nil }
    let full = String(cString: path)
    let prefix = backend.tree + "/"
    return full.hasPrefix(prefix) ? FileName(String(full.dropFirst(prefix.count))) : nil
  }

  private func open(
    _ path: UnsafePointer<CChar>?,
    _ file: UnsafeMutablePointer<sqlite3_file>,
    _ flags: Int32,
    _ outFlags: UnsafeMutablePointer<Int32>?
  ) -> Int32 {
    guard let open = real.pointee.xOpen else { return SQLITE_CANTOPEN }
    guard let name = name(path) else { return open(real, path, file, flags, outFlags) }
    file.pointee.pMethods = nil
    var flags = flags
    var options: MountOpenOptions = []
    if flags & SQLITE_OPEN_READWRITE != 0 { options.insert(.write) }
    if flags & SQLITE_OPEN_CREATE != 0 { options.insert(.create) }
    if flags & SQLITE_OPEN_EXCLUSIVE != 0 { options.insert(.exclusive) }
    let mounted: MountedFile
    do {
      mounted = try backend.open(name, options)
    } catch {
      // As the unix VFS does when it may not write: read.
      guard options.contains(.write), error.code == .readOnly || error.code == .system(EACCES),
        let again = try? backend.open(name, [])
      else { return SQLITE_CANTOPEN }
      mounted = again
      flags &= ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE)
      flags |= SQLITE_OPEN_READONLY
    }
    flags &= ~SQLITE_OPEN_EXCLUSIVE
    let realFile = ShimFile.real(of: file)
    let code = open(real, path, realFile, flags, outFlags)
    guard code == SQLITE_OK else { return code }
    let isNew =
      options.contains(.create)
      && flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL) != 0
    let shim = ShimFile(
      self,
      mounted,
      realFile,
      writes: flags & SQLITE_OPEN_READWRITE != 0,
      syncsDirectory: isNew
    )
    shim.install(in: file)
    return SQLITE_OK
  }

  private func access(
    _ path: UnsafePointer<CChar>,
    _ flags: Int32,
    _ result: UnsafeMutablePointer<Int32>?
  ) -> Int32 {
    switch name(path).map({ backend.presence(of: $0) }) {
    case .absent: result?.pointee = 0
    // A file without content is none to SQLite.
    case .ofSize(let size): result?.pointee = size > 0 ? 1 : 0
    case .asOnDisk, nil:
      return real.pointee.xAccess?(real, path, flags, result) ?? SQLITE_IOERR
    }
    return SQLITE_OK
  }

  private func delete(_ path: UnsafePointer<CChar>, _ syncDirectory: Int32) -> Int32 {
    guard let name = name(path) else {
      return real.pointee.xDelete?(real, path, syncDirectory) ?? SQLITE_ERROR
    }
    do {
      try completing { backend.remove(name, done: $0) }
    } catch let error as StoreError where error.code == .system(ENOENT) {
      return SQLITE_IOERR_DELETE_NOENT
    } catch { return SQLITE_IOERR_DELETE }
    guard syncDirectory != 0 else { return SQLITE_OK }
    return syncParent(of: name) ? SQLITE_OK : SQLITE_IOERR_DIR_FSYNC
  }

  /// What the unix VFS does with a file's directory where the file's name must be durable.
  func syncParent(of name: FileName) -> Bool {
    let parent = name.path.lastIndex(of: "/").map { String(name.path[..<$0]) } ?? ""
    return (try? completing { backend.syncDirectory(parent, done: $0) }) != nil
  }
}

// SQLite's extended codes are macros that the importer cannot evaluate.
let SQLITE_IOERR_DELETE: Int32 = SQLITE_IOERR | (10 << 8)
let SQLITE_IOERR_DELETE_NOENT: Int32 = SQLITE_IOERR | (23 << 8)
let SQLITE_IOERR_SHORT_READ: Int32 = SQLITE_IOERR | (2 << 8)
let SQLITE_IOERR_WRITE: Int32 = SQLITE_IOERR | (3 << 8)
let SQLITE_IOERR_FSYNC: Int32 = SQLITE_IOERR | (4 << 8)
let SQLITE_IOERR_DIR_FSYNC: Int32 = SQLITE_IOERR | (5 << 8)
let SQLITE_IOERR_TRUNCATE: Int32 = SQLITE_IOERR | (6 << 8)
