import Store
import Synchronization

@testable import FuseFS

/// A backend that captures nothing: files are what they are on the disk.
final class PlainBackend: MountBackend {
  let tree: String
  private let disk = SystemDisk()
  private let tables = Mutex<[String: FileLocks]>([:])
  private let virtual = Mutex<[String: VirtualFile]>([:])
  private let failing = Mutex<StoreError?>(nil)

  private struct Held {
    var isOn = false
    var answers: [@Sendable (StoreError?) -> Void] = []
  }
  private let held = Condition(Held())

  init(tree: String) { self.tree = tree }

  /// What the made-up files of the mount are; nil removes one.
  func setVirtual(_ path: String, _ contents: String?) {
    virtual.withLock {
      $0[path] = contents.map {
        VirtualFile(contents: Array($0.utf8), modified: 1_700_000_000_000_000_000)
      }
    }
  }

  /// Lets every opening for writing fail; nil lets them be.
  func failWrites(with error: StoreError?) {
    failing.withLock { $0 = error }
  }

  private func place(_ path: String) -> String { path.isEmpty ? tree : "\(tree)/\(path)" }

  func open(_ name: FileName, _ options: MountOpenOptions) throws(StoreError) -> MountedFile {
    if options.contains(.write), let error = failing.withLock({ $0 }) { throw error }
    var wanted: DiskOpenOptions = []
    if options.contains(.write) { wanted.insert(.write) }
    if options.contains(.create) { wanted.insert(.create) }
    if options.contains(.exclusive) { wanted.insert(.exclusive) }
    if options.contains(.truncate) { wanted.insert(.truncate) }
    let file = try disk.open(place(name.path), wanted)
    let io: MountedFile.IO = name.role == .wal || name.role == .journal ? .daemon : .direct
    return MountedFile(name: name, file: file, io: io)
  }

  func presence(of name: FileName) -> MountPresence { .asOnDisk }
  func makeWay(at path: String) {}
  func namesChanged() {}

  func close(_ file: MountedFile, wrote: Bool, done: @escaping MountCompletion) { done(nil) }

  func write(
    _ file: MountedFile,
    at offset: Int64,
    _ bytes: UnsafeRawBufferPointer,
    done: @escaping MountCompletion
  ) {
    let copy = Array(bytes)
    let write: @Sendable (StoreError?) -> Void = { error in
      if let error { return done(error) }
      var failure: StoreError?
      copy.withUnsafeBytes { bytes in
        do throws(StoreError) { try file.file.write(bytes, at: offset) } catch { failure = error }
      }
      done(failure)
    }
    let isHeld = held.update { held in
      if held.isOn { held.answers.append(write) }
      return held.isOn
    }
    if !isHeld { write(nil) }
  }

  // MARK: Holding writes

  /// From now on writes to WAL and journal wait until they are answered.
  func holdWrites(_ hold: Bool) {
    held.update { $0.isOn = hold }
  }

  func waitForHeld() {
    _ = held.wait { $0.answers.isEmpty ? nil : () }
  }

  /// Does the writes that wait, or refuses them.
  func answerHeld(_ error: StoreError?) {
    let answers = held.update { held in
      defer { held.answers = [] }
      return held.answers
    }
    for answer in answers { answer(error) }
  }

  func forgetHeld() {
    held.update { $0.answers = [] }
  }

  func truncate(
    _ name: FileName,
    _ file: MountedFile?,
    to size: Int64,
    done: @escaping MountCompletion
  ) {
    complete(done) { () throws(StoreError) in
      let opened: any DiskFile
      if let file { opened = file.file } else { opened = try disk.open(place(name.path), .write) }
      try opened.truncate(to: size)
    }
  }

  func sync(_ file: MountedFile, done: @escaping MountCompletion) {
    complete(done) { () throws(StoreError) in try file.file.sync() }
  }

  func syncDirectory(_ path: String, done: @escaping MountCompletion) {
    complete(done) { () throws(StoreError) in try disk.syncDirectory(place(path)) }
  }

  func remove(_ name: FileName, done: @escaping MountCompletion) {
    complete(done) { () throws(StoreError) in
      try disk.remove(place(name.path))
      tables.withLock { $0[name.path] = nil }
    }
  }

  func rename(
    _ source: String,
    to target: String,
    noReplace: Bool,
    exchange: Bool,
    done: @escaping MountCompletion
  ) {
    complete(done) { () throws(StoreError) in
      if exchange {
        let aside = place(".aside")
        try disk.rename(place(target), to: aside)
        try disk.rename(place(source), to: place(target))
        return try disk.rename(aside, to: place(source))
      }
      if noReplace, try disk.information(place(target)) != nil {
        throw StoreError(.exists, "\(target) exists")
      }
      try disk.rename(place(source), to: place(target))
      tables.withLock { $0[target] = $0.removeValue(forKey: source) }
    }
  }

  func locks(of name: FileName) -> FileLocks {
    tables.withLock { tables in
      if let locks = tables[name.path] { return locks }
      let locks = FileLocks()
      tables[name.path] = locks
      return locks
    }
  }

  /// Long enough for a test to see that the kernel did not ask again.
  func absence(of name: FileName) -> Double { name.role == .journal ? 60 : 0 }
  func stability(of name: FileName) -> Double { 0 }

  func virtualFile(_ path: String) -> VirtualFile? { virtual.withLock { $0[path] } }

  private func complete(_ done: MountCompletion, _ body: () throws(StoreError) -> Void) {
    do throws(StoreError) {
      try body()
      done(nil)
    } catch {
      done(error)
    }
  }
}
