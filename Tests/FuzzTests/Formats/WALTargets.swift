import Glibc
import LTX

@testable import Store

/// What SQLite's processes write while a database is in WAL mode, or what others write there.
enum WALTargets {
  // MARK: The capture

  /// A file and what the capture makes of the writes to it.
  private struct Writer {
    var file: [UInt8] = []
    var capture = WALCapture()
    /// Where a writer that keeps to the format would go on.
    var header: WALHeader?
    var end = 0
    var sum = WALSum()
    /// A write went below what was captured: the chain in the file may be gone.
    var isTrampled = false

    static let limit = 64 << 10

    mutating func write(at offset: Int64, _ bytes: [UInt8], refuse: Bool) throws {
      var scratch = [UInt8](repeating: 0, count: 65_536 + WALFrame.headerBytes)
      let before = file
      if offset >= 0, offset < capture.captured, !bytes.isEmpty { isTrampled = true }
      let found = try scratch.withUnsafeMutableBytes { scratch in
        try bytes.withUnsafeBytes { raw in
          try capture.prepare(at: offset, raw, scratch: scratch) { at, target in
            guard at >= 0, at <= before.count - target.count else { return false }
            let from = Int(at)
            before.withUnsafeBytes { target.copyBytes(from: $0[from..<(from + target.count)]) }
            return true
          }
        }
      }
      if let found {
        try FuzzFinding.check(
          found.commit > 0 && !found.pages.isEmpty && found.pages.allSatisfy { $0 > 0 }
            && found.offset < found.end
            && found.end <= max(Int64(before.count), offset + Int64(bytes.count)),
          "an impossible transaction \(found)"
        )
      }
      if refuse {
        capture.abort(at: offset)
        return
      }
      if found != nil { capture.commit() }
      guard offset <= Int64(Self.limit - bytes.count) else { return }
      let end = Int(offset) + bytes.count
      if file.count < end { file += [UInt8](repeating: 0, count: end - file.count) }
      file.replaceSubrange(Int(offset)..<end, with: bytes)
    }

    mutating func truncate(to size: Int64) {
      capture.truncated(to: size)
      if size < Int64(file.count) { file.removeLast(file.count - Int(size)) }
    }

    /// Where the last whole transaction of the file ends, as SQLite's recovery would find it.
    func recoverable() -> Int64 {
      guard let header = file.withUnsafeBytes({ WALHeader($0) }) else { return 0 }
      var sum = header.sum
      var offset = WALHeader.bytes
      var end = offset
      while offset + Int(header.frameBytes) <= file.count {
        let frame = file[offset..<(offset + Int(header.frameBytes))].withUnsafeBytes { raw in
          let frame = WALFrame(raw)
          return frame.follows(
            sum,
            in: header,
            header: UnsafeRawBufferPointer(rebasing: raw[0..<WALFrame.headerBytes]),
            content: UnsafeRawBufferPointer(rebasing: raw[WALFrame.headerBytes...])
          ) ? frame : nil
        }
        guard let frame else { break }
        sum = frame.sum
        offset += Int(header.frameBytes)
        if frame.commit > 0 { end = offset }
      }
      return Int64(end)
    }
  }

  /// A row of operations, each a byte that says which and what it needs.
  static let capture = FuzzTarget("wal-capture", maxBytes: 4096, seeds: captureSeeds) { bytes in
    var input = FuzzInput(bytes)
    var writer = Writer()
    for _ in 0..<200 where !input.isEmpty {
      let operation = input.byte()
      let refuse = operation & 0x80 != 0
      switch operation & 7 {
      case 0: try begin(&writer, &input, refuse)
      case 1, 2: try append(&writer, &input, refuse)
      case 3:
        let offset = Int64(input.integer(UInt16.self))
        try writer.write(at: offset, input.block(), refuse: refuse)
      case 4:
        // The kernel lets no write end behind the largest offset there is.
        let bytes = input.block()
        let offset = Int64(input.integer(UInt64.self) >> 1)
        try writer.write(at: min(offset, .max - Int64(bytes.count)), bytes, refuse: refuse)
      case 5: writer.truncate(to: Int64(input.integer(UInt16.self)))
      case 6: writer.truncate(to: Int64(input.integer(UInt64.self) >> 1))
      default:
        if refuse { writer.capture.trustFile() } else { writer.capture.settle() }
      }
      guard !writer.isTrampled else { return }
      let captured = writer.capture.captured
      let recoverable = writer.recoverable()
      try FuzzFinding.check(
        captured <= max(recoverable, Int64(WALHeader.bytes)) || writer.file.count > 60_000,
        "captured up to \(captured), but the file is good up to \(recoverable)"
      )
    }
  }

  private static func begin(
    _ writer: inout Writer,
    _ input: inout FuzzInput,
    _ refuse: Bool
  ) throws {
    guard let size = PageSize(bytes: 512 << Int(input.byte() & 1)) else { return }
    let salt = UInt32(input.byte())
    let header = WALHeader(pageSize: size, sequence: 0, salt1: salt, salt2: salt &+ 1)
    try writer.write(at: 0, header.encoded(), refuse: refuse)
    if refuse { return }
    writer.isTrampled = false
    writer.header = header
    writer.end = WALHeader.bytes
    writer.sum = header.sum
  }

  /// A frame as SQLite would write it: head and page, together or apart.
  private static func append(
    _ writer: inout Writer,
    _ input: inout FuzzInput,
    _ refuse: Bool
  ) throws {
    guard let header = writer.header else { return }
    let page = UInt32(input.byte())
    let commit = UInt32(input.byte() & 3)
    let form = input.byte()
    let content = [UInt8](repeating: form, count: header.pageSize.bytes)
    var head = [UInt8](repeating: 0, count: WALFrame.headerBytes)
    let sum = head.withUnsafeMutableBytes { head in
      content.withUnsafeBytes {
        WALFrame.store(
          page: page,
          commit: commit,
          after: writer.sum,
          in: header,
          content: $0,
          to: head
        )
      }
    }
    if form & 1 == 0 {
      try writer.write(at: Int64(writer.end), head + content, refuse: refuse)
    } else {
      try writer.write(at: Int64(writer.end), head, refuse: false)
      try writer.write(
        at: Int64(writer.end + WALFrame.headerBytes),
        content,
        refuse: refuse
      )
    }
    if refuse { return }
    writer.sum = sum
    writer.end += head.count + content.count
  }

  @Sendable private static func captureSeeds() -> [[UInt8]] {
    let begin: [UInt8] = [0, 0, 7]
    return [
      begin + [1, 1, 0, 0, 1, 2, 2, 2, 1, 3, 1, 1],
      begin + [1, 1, 1, 3, 0x81, 2, 1, 0, 1, 2, 1, 1] + [0, 1, 9] + [1, 1, 1, 2],
      begin + [1, 1, 0, 0, 3, 0, 60, 0, 4, 1, 2, 3, 4, 7, 1, 1, 2, 5, 5, 0, 32, 0x87],
    ]
  }

  // MARK: The wal-index

  /// Four bytes of a frame number, one of a choice, then the file.
  static let index = FuzzTarget("wal-index", maxBytes: 40_000, seeds: indexSeeds) { bytes in
    var input = FuzzInput(bytes)
    let last = input.integer(UInt32.self)
    let choice = input.byte()
    var content = input.remaining()
    if choice & 1 != 0 { sealIndex(&content) }
    do throws(StoreError) {
      let file = try DescriptorFile()
      try file.writeAll(content, at: 0)
      let index = WALIndex(memory: try SharedMemory(file))
      if let header = try index.header() {
        try index.append([3, 2, 1, 3], after: choice & 2 != 0 ? last : header.frames)
        index.publish(header)
        _ = try index.header()
      }
    } catch {}
  }

  private static func sealIndex(_ bytes: inout [UInt8]) {
    guard bytes.count >= 96 else { return }
    let sum = bytes[..<40].withUnsafeBytes {
      WALSum().adding($0, bigEndian: UInt32(1).bigEndian == 1)
    }
    withUnsafeBytes(of: (sum.first, sum.second)) {
      bytes.replaceSubrange(40..<48, with: Array($0))
    }
    bytes.replaceSubrange(48..<96, with: Array(bytes[..<48]))
  }

  @Sendable private static func indexSeeds() throws -> [[UInt8]] {
    guard let size = PageSize(bytes: 4096) else { return [] }
    return [UInt32(0), 1, 4062, 4063].map { frames in
      let header = WALIndex.Header(
        pageSize: size,
        frames: frames,
        pages: 3,
        sum: WALSum(),
        salt1: 1,
        salt2: 2
      ).encoded()
      let rest = [UInt8](repeating: 0, count: SharedMemory.regionBytes - 2 * header.count)
      return FuzzInput.big(frames) + [1] + header + header + rest
    }
  }
}

/// A file in memory that can be mapped: it has no name any more.
private final class DescriptorFile: DiskFile {
  let descriptor: Int32

  init() throws(StoreError) {
    var path = Array("/dev/shm/halite-fuzz-XXXXXX".utf8CString)
    descriptor = mkstemp(&path)
    guard descriptor >= 0 else { throw StoreError(.system(errno), "no file in /dev/shm") }
    unlink(path)
  }

  deinit { close(descriptor) }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StoreError) -> Int
  {
    max(0, pread(descriptor, buffer.baseAddress, buffer.count, Int(offset)))
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(StoreError) {
    guard pwrite(descriptor, bytes.baseAddress, bytes.count, Int(offset)) == bytes.count else {
      throw StoreError(.system(errno), "a write fails")
    }
  }
  func truncate(to size: Int64) throws(StoreError) {
    guard ftruncate(descriptor, Int(size)) == 0 else {
      throw StoreError(.system(errno), "a truncation fails")
    }
  }
  func sync() throws(StoreError) {}
  func information() throws(StoreError) -> DiskFileInformation {
    let size = lseek(descriptor, 0, SEEK_END)
    guard size >= 0 else { throw StoreError(.system(errno), "no size") }
    return DiskFileInformation(
      device: 1,
      inode: 1,
      size: Int64(size),
      modified: 0,
      isDirectory: false
    )
  }
}
