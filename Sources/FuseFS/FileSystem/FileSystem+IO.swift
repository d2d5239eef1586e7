internal import Glibc
internal import Store

/// Reads and writes that the kernel does not do itself.
extension FileSystem {
  func read(_ request: FuseRequest, handle: UInt64, offset: Int64, count: Int) {
    serve(request) { () throws(SystemCallError) in
      let file = try self.file(handle)
      switch file.content {
      case .virtual(let virtual):
        let start = Int(min(max(offset, 0), Int64(virtual.contents.count)))
        let end = min(start + count, virtual.contents.count)
        virtual.contents[start..<end].withUnsafeBytes { request.reply(bytes: $0) }
      case .mounted(let mounted):
        let visible = mounted.file.visibleSize
        let count = visible.map { min(count, Int(max(0, $0 - offset))) } ?? count
        // What the page cache has is answered in place, the disk is waited for elsewhere.
        let answered = withUnsafeTemporaryAllocation(byteCount: count, alignment: 16) {
          buffer -> Bool in
          guard
            let done = BackingTree.readCached(
              mounted.file.descriptor,
              into: buffer,
              offset: offset
            )
          else { return false }
          request.reply(bytes: UnsafeRawBufferPointer(rebasing: buffer[..<done]))
          return true
        }
        guard !answered else { return }
        workers.submit { Self.readFromDisk(request, mounted, offset: offset, count: count) }
      }
    }
  }

  private static func readFromDisk(
    _ request: FuseRequest,
    _ mounted: MountedFile,
    offset: Int64,
    count: Int
  ) {
    withUnsafeTemporaryAllocation(byteCount: count, alignment: 16) { buffer in
      do throws(StoreError) {
        let done = try mounted.file.read(into: buffer, at: offset)
        request.reply(bytes: UnsafeRawBufferPointer(rebasing: buffer[..<done]))
      } catch {
        request.fail(error.errorNumber)
      }
    }
  }

  /// `bytes` are valid only until this returns.
  func write(
    _ request: FuseRequest,
    handle: UInt64,
    offset: Int64,
    _ bytes: UnsafeRawBufferPointer
  ) {
    serve(request) { () throws(SystemCallError) in
      guard let mounted = try file(handle).mounted else { throw .badHandle }
      let count = bytes.count
      if mounted.io != .direct {
        backend.write(mounted, at: offset, bytes) { error in
          if let error { return request.fail(error.errorNumber) }
          request.reply(written: count)
        }
        return
      }
      try stored { () throws(StoreError) in try mounted.file.write(bytes, at: offset) }
      request.reply(written: count)
    }
  }

  func sync(_ request: FuseRequest, handle: UInt64) {
    serve(request) { () throws(SystemCallError) in
      guard let mounted = try file(handle).mounted else { return request.succeed() }
      backend.sync(mounted, done: Self.answer(request))
    }
  }

  /// Files whose writes the store follows do not change under it.
  func allocate(
    _ request: FuseRequest,
    handle: UInt64,
    mode: Int32,
    offset: Int64,
    length: Int64
  ) {
    serve(request) { () throws(SystemCallError) in
      guard let mounted = try file(handle).mounted, case .direct = mounted.io else {
        throw SystemCallError(EOPNOTSUPP)
      }
      workers.submit { [self] in
        serve(request) { () throws(SystemCallError) in
          try BackingTree.allocate(
            mounted.file.descriptor,
            mode: mode,
            offset: offset,
            length: length
          )
          request.succeed()
        }
      }
    }
  }

  /// `SEEK_HOLE` of unistd.h, which Swift does not import.
  private static let seekHole: Int32 = 4

  func seek(_ request: FuseRequest, handle: UInt64, offset: Int64, whence: Int32) {
    serve(request) { () throws(SystemCallError) in
      guard let mounted = try file(handle).mounted else { throw SystemCallError(EINVAL) }
      if let size = mounted.file.visibleSize {
        guard offset >= 0, offset < size else { throw SystemCallError(ENXIO) }
        return request.reply(offset: whence == Self.seekHole ? size : offset)
      }
      let found = try BackingTree.seek(mounted.file.descriptor, offset: offset, whence: whence)
      request.reply(offset: found)
    }
  }
}
