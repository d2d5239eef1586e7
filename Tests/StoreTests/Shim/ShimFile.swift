import CSQLite
import Foundation
import Synchronization

@testable import Store

/// One open file of the shim. In SQLite's memory stand the methods, a reference to this object, and
/// the unix VFS's file.
final class ShimFile {
  static let headBytes = 16

  private let vfs: ShimVFS
  private let mounted: MountedFile
  private let real: UnsafeMutablePointer<sqlite3_file>
  private let writes: Bool
  /// The directory is synced with the file's first sync, as the unix VFS does with a new journal.
  private var syncsDirectory: Bool
  private let owner: LockOwner
  private let locks: FileLocks
  private let sharedMemoryLocks: FileLocks
  private var level: Int32 = SQLITE_LOCK_NONE

  private var name: FileName { mounted.name }
  private var sharedMemory: FileName { FileName(name.path + "-shm") }
  private var system: sqlite3_io_methods {
    real.pointee.pMethods?.pointee ?? sqlite3_io_methods()
  }

  init(
    _ vfs: ShimVFS,
    _ mounted: MountedFile,
    _ real: UnsafeMutablePointer<sqlite3_file>,
    writes: Bool,
    syncsDirectory: Bool
  ) {
    self.vfs = vfs
    self.syncsDirectory = syncsDirectory
    self.mounted = mounted
    self.real = real
    self.writes = writes
    owner = .kernel(vfs.makeOwner())
    locks = vfs.backend.locks(of: mounted.name)
    sharedMemoryLocks = vfs.backend.locks(of: FileName(mounted.name.path + "-shm"))
  }

  static func real(of file: UnsafeMutablePointer<sqlite3_file>) -> UnsafeMutablePointer<
    sqlite3_file
  > {
    (UnsafeMutableRawPointer(file) + headBytes).assumingMemoryBound(to: sqlite3_file.self)
  }

  /// Retained by the file until `close`.
  func install(in file: UnsafeMutablePointer<sqlite3_file>) {
    let place = UnsafeMutableRawPointer(file) + 8
    place.storeBytes(of: Unmanaged.passRetained(self).toOpaque(), as: UnsafeMutableRawPointer.self)
    file.pointee.pMethods = UnsafePointer(vfs.methods)
  }

  private static func at(_ file: UnsafeMutablePointer<sqlite3_file>?) -> ShimFile? {
    guard let file else { return nil }
    let stored = (UnsafeMutableRawPointer(file) + 8).load(as: UnsafeMutableRawPointer.self)
    return Unmanaged<ShimFile>.fromOpaque(stored).takeUnretainedValue()
  }

  /// Version 2: with shared memory, without memory-mapped reading.
  static var methods: sqlite3_io_methods {
    var methods = sqlite3_io_methods()
    methods.iVersion = 2
    methods.xClose = { file in ShimFile.at(file)?.close(file) ?? SQLITE_MISUSE }
    methods.xRead = { file, buffer, count, offset in
      guard let shim = ShimFile.at(file) else { return SQLITE_MISUSE }
      if shim.mounted.file.visibleSize != nil { return shim.read(buffer, count, offset) }
      return shim.system.xRead?(shim.real, buffer, count, offset) ?? SQLITE_MISUSE
    }
    methods.xWrite = { file, buffer, count, offset in
      ShimFile.at(file)?.write(buffer, count, offset) ?? SQLITE_MISUSE
    }
    methods.xTruncate = { file, size in ShimFile.at(file)?.truncate(size) ?? SQLITE_MISUSE }
    methods.xSync = { file, _ in ShimFile.at(file)?.sync() ?? SQLITE_MISUSE }
    methods.xFileSize = { file, size in
      guard let shim = ShimFile.at(file) else { return SQLITE_MISUSE }
      if let visible = shim.mounted.file.visibleSize {
        size?.pointee = visible
        return SQLITE_OK
      }
      return shim.system.xFileSize?(shim.real, size) ?? SQLITE_MISUSE
    }
    methods.xLock = { file, level in ShimFile.at(file)?.lock(level) ?? SQLITE_MISUSE }
    methods.xUnlock = { file, level in ShimFile.at(file)?.unlock(level) ?? SQLITE_MISUSE }
    methods.xCheckReservedLock = { file, result in
      guard let shim = ShimFile.at(file) else { return SQLITE_MISUSE }
      return shim.system.xCheckReservedLock?(shim.real, result) ?? SQLITE_MISUSE
    }
    methods.xFileControl = { file, operation, argument in
      guard let shim = ShimFile.at(file) else { return SQLITE_MISUSE }
      return shim.system.xFileControl?(shim.real, operation, argument) ?? SQLITE_MISUSE
    }
    methods.xSectorSize = { file in
      guard let shim = ShimFile.at(file) else { return 4096 }
      return shim.system.xSectorSize?(shim.real) ?? 4096
    }
    methods.xDeviceCharacteristics = { file in
      guard let shim = ShimFile.at(file) else { return 0 }
      return shim.system.xDeviceCharacteristics?(shim.real) ?? 0
    }
    addSharedMemory(&methods)
    return methods
  }

  private static func addSharedMemory(_ methods: inout sqlite3_io_methods) {
    methods.xShmMap = { file, region, size, extend, result in
      guard let shim = ShimFile.at(file) else { return SQLITE_MISUSE }
      return shim.system.xShmMap?(shim.real, region, size, extend, result) ?? SQLITE_MISUSE
    }
    methods.xShmLock = { file, offset, count, flags in
      ShimFile.at(file)?.lockSharedMemory(offset, count, flags) ?? SQLITE_MISUSE
    }
    methods.xShmBarrier = { file in
      guard let shim = ShimFile.at(file) else { return }
      shim.system.xShmBarrier?(shim.real)
    }
    methods.xShmUnmap = { file, delete in
      ShimFile.at(file)?.unmapSharedMemory(delete) ?? SQLITE_MISUSE
    }
  }

  // MARK: Files

  private func close(_ file: UnsafeMutablePointer<sqlite3_file>?) -> Int32 {
    if name.role == .main { releaseAll(locks) }
    let code = system.xClose?(real) ?? SQLITE_OK
    let failed =
      (try? completing { vfs.backend.close(mounted, wrote: writes, done: $0) }) == nil
    if let file {
      let place = UnsafeMutableRawPointer(file) + 8
      Unmanaged<ShimFile>.fromOpaque(place.load(as: UnsafeMutableRawPointer.self)).release()
      file.pointee.pMethods = nil
    }
    return failed ? SQLITE_IOERR : code
  }

  private func read(_ buffer: UnsafeMutableRawPointer?, _ count: Int32, _ offset: Int64) -> Int32 {
    let memory = UnsafeMutableRawBufferPointer(start: buffer, count: Int(count))
    guard let read = try? mounted.file.read(into: memory, at: offset) else { return SQLITE_IOERR }
    guard read < memory.count else { return SQLITE_OK }
    for index in read..<memory.count { memory[index] = 0 }
    return SQLITE_IOERR_SHORT_READ
  }

  private func write(_ buffer: UnsafeRawPointer?, _ count: Int32, _ offset: Int64) -> Int32 {
    if mounted.io != .daemon, vfs.recordsDirectWrites {
      let bytes = UnsafeRawBufferPointer(start: buffer, count: Int(count))
      return (try? mounted.file.write(bytes, at: offset)) == nil ? SQLITE_IOERR_WRITE : SQLITE_OK
    }
    guard mounted.io == .daemon else {
      return system.xWrite?(real, buffer, count, offset) ?? SQLITE_MISUSE
    }
    if name.role == .wal { vfs.counts.withLock { $0.walWrites += 1 } }
    let bytes = UnsafeRawBufferPointer(start: buffer, count: Int(count))
    do {
      try completing { vfs.backend.write(mounted, at: offset, bytes, done: $0) }
      return SQLITE_OK
    } catch let error as StoreError where error.code == .full {
      return SQLITE_FULL
    } catch {
      return SQLITE_IOERR_WRITE
    }
  }

  private func truncate(_ size: Int64) -> Int32 {
    (try? completing { vfs.backend.truncate(name, mounted, to: size, done: $0) }) == nil
      ? SQLITE_IOERR_TRUNCATE : SQLITE_OK
  }

  private func sync() -> Int32 {
    guard (try? completing { vfs.backend.sync(mounted, done: $0) }) != nil else {
      return SQLITE_IOERR_FSYNC
    }
    // An error of the directory's sync is not reported by the unix VFS either.
    if syncsDirectory { _ = vfs.syncParent(of: name) }
    syncsDirectory = false
    return SQLITE_OK
  }

  // MARK: Locks

  private func set(_ locks: FileLocks, _ kind: LockKind, _ range: LockRange) -> Bool {
    let request = LockRequest(owner: owner, kind: kind, range: range)
    return
      (try? completing { done in
        locks.set(request, wait: false) { outcome in
          done(outcome == .granted ? nil : StoreError(.busy, "conflict"))
        }
      }) != nil
  }

  private func clear(_ locks: FileLocks, _ range: LockRange) {
    try? completing { done in
      locks.unlock(owner: owner, range: range) { done(nil) }
    }
  }

  private func releaseAll(_ locks: FileLocks) {
    try? completing { done in locks.releaseAll(owner: owner) { done(nil) } }
  }

  private func lock(_ wanted: Int32) -> Int32 {
    let code = system.xLock?(real, wanted) ?? SQLITE_MISUSE
    guard code == SQLITE_OK, wanted > level else { return code }
    // When the store's table refuses, the unix VFS keeps what it has: only stronger than needed.
    guard mirror(wanted) else {
      vfs.counts.withLock { $0.refusedLocks += 1 }
      if level == SQLITE_LOCK_NONE { _ = system.xUnlock?(real, SQLITE_LOCK_NONE) }
      return SQLITE_BUSY
    }
    level = wanted
    return SQLITE_OK
  }

  private func mirror(_ wanted: Int32) -> Bool {
    switch wanted {
    case SQLITE_LOCK_SHARED:
      guard set(locks, .read, MainLock.pending) else { return false }
      defer { clear(locks, MainLock.pending) }
      return set(locks, .read, MainLock.shared)
    case SQLITE_LOCK_RESERVED: return set(locks, .write, MainLock.reserved)
    default: return set(locks, .write, MainLock.pending) && set(locks, .write, MainLock.shared)
    }
  }

  private func unlock(_ wanted: Int32) -> Int32 {
    if wanted == SQLITE_LOCK_SHARED {
      if level > SQLITE_LOCK_SHARED { _ = set(locks, .read, MainLock.shared) }
      clear(locks, LockRange(MainLock.pending.start, MainLock.reserved.end))
    } else {
      clear(locks, LockRange(0, .max))
    }
    level = wanted
    return system.xUnlock?(real, wanted) ?? SQLITE_MISUSE
  }

  private func lockSharedMemory(_ offset: Int32, _ count: Int32, _ flags: Int32) -> Int32 {
    let range = LockRange(120 + Int64(offset), 119 + Int64(offset) + Int64(count))
    if flags & SQLITE_SHM_UNLOCK != 0 {
      if range == WALLock.write { vfs.beforeWriterLeaves.withLock { $0 }?() }
      clear(sharedMemoryLocks, range)
      return system.xShmLock?(real, offset, count, flags) ?? SQLITE_MISUSE
    }
    let isExclusive = flags & SQLITE_SHM_EXCLUSIVE != 0
    if isExclusive, range.overlaps(WALLock.recover) { vfs.counts.withLock { $0.recoveries += 1 } }
    let code = system.xShmLock?(real, offset, count, flags) ?? SQLITE_MISUSE
    guard code == SQLITE_OK else { return code }
    if set(sharedMemoryLocks, isExclusive ? .write : .read, range) { return SQLITE_OK }
    vfs.counts.withLock { $0.refusedLocks += 1 }
    let back = (flags & ~SQLITE_SHM_LOCK) | SQLITE_SHM_UNLOCK
    _ = system.xShmLock?(real, offset, count, back)
    return SQLITE_BUSY
  }

  private func unmapSharedMemory(_ delete: Int32) -> Int32 {
    if delete != 0 { try? completing { vfs.backend.remove(sharedMemory, done: $0) } }
    releaseAll(sharedMemoryLocks)
    return system.xShmUnmap?(real, delete) ?? SQLITE_MISUSE
  }
}
