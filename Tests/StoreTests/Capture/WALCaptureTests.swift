import Foundation
import LTX
import Synchronization
import Testing

@testable import Store

/// The pure capture machine, fed with the writes real SQLite made to real write-ahead logs.
@Suite(.timeLimit(.minutes(15)))
struct WALCaptureTests {
  struct Write: Sendable {
    var offset: Int64
    var bytes: [UInt8]
  }

  /// A backend that keeps the writes to the write-ahead log and does nothing else.
  private final class Recorder: MountBackend {
    let tree: String
    private let disk = SystemDisk()
    private let table = Mutex<[FileName: FileLocks]>([:])
    let writes = Mutex<[Write]>([])

    init(_ tree: String) { self.tree = tree }

    func open(_ name: FileName, _ options: MountOpenOptions) throws(StoreError) -> MountedFile {
      var flags: DiskOpenOptions = []
      if options.contains(.write) { flags.insert(.write) }
      if options.contains(.create) { flags.insert(.create) }
      return MountedFile(
        name: name,
        file: try disk.open(tree + "/" + name.path, flags),
        io: name.role == .wal ? .daemon : .direct
      )
    }
    func close(_ file: MountedFile, wrote: Bool, done: @escaping MountCompletion) { done(nil) }
    func write(
      _ file: MountedFile,
      at offset: Int64,
      _ bytes: UnsafeRawBufferPointer,
      done: @escaping MountCompletion
    ) {
      writes.withLock { $0.append(Write(offset: offset, bytes: Array(bytes))) }
      done(StoreError.catching { () throws(StoreError) in try file.file.write(bytes, at: offset) })
    }
    func truncate(
      _ name: FileName,
      _ file: MountedFile?,
      to size: Int64,
      done: @escaping MountCompletion
    ) { done(StoreError.catching { () throws(StoreError) in try file?.file.truncate(to: size) }) }
    func sync(_ file: MountedFile, done: @escaping MountCompletion) { done(nil) }
    func syncDirectory(_ path: String, done: @escaping MountCompletion) { done(nil) }
    func presence(of name: FileName) -> MountPresence { .asOnDisk }
    func makeWay(at path: String) {}
    func namesChanged() {}
    func remove(_ name: FileName, done: @escaping MountCompletion) {
      done(
        StoreError.catching { () throws(StoreError) in try disk.remove(tree + "/" + name.path) }
      )
    }
    func rename(
      _ source: String,
      to target: String,
      noReplace: Bool,
      exchange: Bool,
      done: @escaping MountCompletion
    ) { done(StoreError(.unsupported, "no renames")) }
    func locks(of name: FileName) -> FileLocks {
      table.withLock { table in
        if let known = table[name] { return known }
        let locks = FileLocks()
        table[name] = locks
        return locks
      }
    }
    func absence(of name: FileName) -> Double { 0 }
    func stability(of name: FileName) -> Double { 0 }
    func virtualFile(_ path: String) -> VirtualFile? { nil }
  }

  /// The writes to a log in which pages were rewritten, transactions undone and the log begun anew.
  private func record(pageSize: Int, seed: UInt64) throws -> [Write] {
    let directory = try TestDirectory("wal")
    let recorder = Recorder(directory.path)
    let vfs = try ShimVFS(recorder)
    let connection = try Connection(directory.path + "/a.db", vfs: vfs)
    try connection.run(
      "PRAGMA page_size=\(pageSize); PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0"
    )
    var workload = Workload(seed: seed, style: .mixed, rollback: true)
    var undo = Workload(seed: seed + 1, style: .spill, rollback: true)
    try connection.run("CREATE TABLE own(id INTEGER PRIMARY KEY, a, b)")
    for round in 0..<(pageSize > 8192 ? 10 : 20) {
      try connection.run(workload.next())
      if round % 3 == 1 {
        // Pages reach the log early, and come again after part of the transaction was undone.
        try connection.run(
          "PRAGMA cache_size=2; BEGIN; SAVEPOINT x; \(undo.filler("own", 60)) ROLLBACK TO x; "
            + "\(undo.filler("own", 30)) UPDATE own SET a = a + 1; UPDATE own SET b = a; COMMIT; "
            + "PRAGMA cache_size=100"
        )
      }
      if round % 6 == 5 { try connection.run("PRAGMA wal_checkpoint(RESTART)") }
    }
    connection.close()
    return recorder.writes.withLock { $0 }
  }

  /// Feeds writes to the machine and to a plain array; what it finds must be what a scan of the
  /// array finds anew, and find at the same write.
  private func check(_ writes: [Write], _ what: String) throws -> Int {
    var capture = WALCapture()
    let file = Mutex<[UInt8]>([])
    var scratch = [UInt8](repeating: 0, count: 65_536 + 24)
    var inLog: [WALCapture.Transaction] = []
    var salts: [UInt8] = []
    var found = 0
    for (number, write) in writes.enumerated() {
      let before = inLog.count
      inLog += try feed(write, &capture, file, &scratch)
      if capture.header == nil { inLog = [] }
      found += inLog.count - min(before, inLog.count)
      let isDue = inLog.count != before || number % 23 == 0
      if isDue {
        let then = CommittedImage.transactions(file.withLock { $0 }).count
        let isRestart = write.offset < 32
        #expect(isRestart || then == before, "\(what): before write \(number)")
      }
      file.withLock { file in
        let end = Int(write.offset) + write.bytes.count
        if file.count < end { file += [UInt8](repeating: 0, count: end - file.count) }
        file.replaceSubrange(Int(write.offset)..<end, with: write.bytes)
        if Array(file.prefix(32).dropFirst(16)) != salts {
          salts = Array(file.prefix(32).dropFirst(16))
          inLog.removeFirst(write.offset < 32 ? min(before, inLog.count) : 0)
          // A page that happens to stand where the new log will write the same one does not count
          // before it is written.
          file.removeLast(max(0, file.count - max(end, 32)))
        }
      }
      guard isDue else { continue }
      let after = CommittedImage.transactions(file.withLock { $0 })
      guard after.count == inLog.count else {
        Issue.record("\(what): write \(number): \(inLog.count) captured, \(after.count) there")
        return found
      }
      for (a, b) in zip(inLog, after) {
        #expect(a.pages.map(Int.init) == b.map(\.page), "\(what): write \(number)")
        #expect(Int(a.commit) == b.last?.commit)
        #expect(Int(a.offset) + 24 == b.first?.offset)
      }
    }
    return found
  }

  private func feed(
    _ write: Write,
    _ capture: inout WALCapture,
    _ file: borrowing Mutex<[UInt8]>,
    _ scratch: inout [UInt8]
  ) throws -> [WALCapture.Transaction] {
    var captured: [WALCapture.Transaction] = []
    let bytes = file.withLock { $0 }
    try write.bytes.withUnsafeBytes { raw in
      try scratch.withUnsafeMutableBytes { scratch in
        while let transaction = try capture.prepare(
          at: write.offset,
          raw,
          scratch: scratch,
          source: { (at, buffer) throws(StoreError) in
            guard Int(at) + buffer.count <= bytes.count else { return false }
            buffer.copyBytes(from: bytes[Int(at)..<(Int(at) + buffer.count)])
            return true
          }
        ) {
          captured.append(transaction)
          capture.commit()
        }
      }
    }
    return captured
  }

  @Test(arguments: [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536])
  func asSQLiteWrites(pageSize: Int) throws {
    let writes = try record(pageSize: pageSize, seed: UInt64(pageSize))
    #expect(try check(writes, "\(pageSize)") > (pageSize > 8192 ? 8 : 15))
  }

  @Test(arguments: [512, 1024, 4096]) func inRandomPieces(pageSize: Int) throws {
    var random = SeededRandom(UInt64(pageSize))
    let writes = try record(pageSize: pageSize, seed: 77)
    for round in 0..<2 {
      var pieces: [Write] = []
      for write in writes {
        var rest = write.bytes[...]
        var offset = write.offset
        while !rest.isEmpty {
          let count = random.below(3) == 0 ? 1 + random.below(rest.count) : rest.count
          pieces.append(Write(offset: offset, bytes: Array(rest.prefix(count))))
          rest = rest.dropFirst(count)
          offset += Int64(count)
        }
      }
      #expect(try check(pieces, "pieces \(pageSize) \(round)") > 15)
    }
  }

  /// Neighbouring writes may reach the store as one, the header's with the first frames.
  @Test(arguments: [512, 4096]) func inLargerPieces(pageSize: Int) throws {
    var random = SeededRandom(UInt64(pageSize))
    var joined: [Write] = []
    for write in try record(pageSize: pageSize, seed: 78) {
      if let last = joined.last, last.offset + Int64(last.bytes.count) == write.offset,
        random.below(4) > 0
      {
        joined[joined.count - 1].bytes += write.bytes
      } else {
        joined.append(write)
      }
    }
    #expect(try check(joined, "joined \(pageSize)") > 15)
  }

  /// Nothing that is written to a log may trap, and nothing is captured that a scan does not find.
  @Test func damagedWrites() throws {
    let writes = try record(pageSize: 512, seed: 5)
    var random = SeededRandom(6)
    for _ in 0..<12 {
      var damaged = writes
      for _ in 0..<6 {
        let at = random.below(damaged.count)
        switch random.below(3) {
        case 0: damaged[at].bytes[random.below(damaged[at].bytes.count)] ^= 1
        case 1: damaged[at].offset = Int64(random.below(20_000))
        default: damaged.swapAt(at, random.below(damaged.count))
        }
      }
      var capture = WALCapture()
      let file = Mutex<[UInt8]>([])
      var scratch = [UInt8](repeating: 0, count: 65_536 + 24)
      for write in damaged {
        _ = try feed(write, &capture, file, &scratch)
        file.withLock { file in
          let end = Int(write.offset) + write.bytes.count
          if file.count < end { file += [UInt8](repeating: 0, count: end - file.count) }
          file.replaceSubrange(Int(write.offset)..<end, with: write.bytes)
        }
      }
    }
  }
}
