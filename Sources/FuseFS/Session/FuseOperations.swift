internal import CFuse3
internal import Glibc
internal import Store

/// libfuse's table of operations: translates C arguments and calls the file system.
///
/// What is missing is answered with ENOSYS by libfuse: extended attributes and copy_file_range,
/// for which the kernel has its own way, and `access`, since it checks permissions by the mode.
enum FuseOperations {
  static var table: fuse_lowlevel_ops {
    var table = fuse_lowlevel_ops()
    addSession(&table)
    addNames(&table)
    addAttributes(&table)
    addFiles(&table)
    addDirectories(&table)
    addLocks(&table)
    return table
  }

  private static func addSession(_ table: inout fuse_lowlevel_ops) {
    table.`init` = { context, connection in
      guard let context, let connection else { return }
      // Truncation then comes as a request of its own, which may wait; an open may not.
      // Set-user-ID bits are cleared by the kernel, with a request, as it knows who writes.
      // Splicing is of no use: what comes to us is small or read from the page cache.
      connection.pointee.want &= ~UInt32(
        FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_SPLICE_READ
          | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE
      )
      Unmanaged<FuseSession>.fromOpaque(context).takeUnretainedValue().initialized()
    }
  }

  private static func addNames(_ table: inout fuse_lowlevel_ops) {
    table.lookup = { request, parent, name in
      guard let (fs, request) = begin(request), let name = text(name, request) else { return }
      fs.lookUp(request, NodeID(number: parent), name)
    }
    table.forget = { request, node, count in
      guard let (fs, request) = begin(request) else { return }
      fs.forget(NodeID(number: node), count)
      request.ignore()
    }
    table.forget_multi = { request, count, entries in
      guard let (fs, request) = begin(request) else { return }
      for entry in UnsafeBufferPointer(start: entries, count: count) {
        fs.forget(NodeID(number: entry.ino), entry.nlookup)
      }
      request.ignore()
    }
    table.mknod = { request, parent, name, mode, _ in
      guard let (fs, request) = begin(request), let name = text(name, request) else { return }
      fs.makeNode(request, NodeID(number: parent), name, mode: mode)
    }
    table.mkdir = { request, parent, name, mode in
      guard let (fs, request) = begin(request), let name = text(name, request) else { return }
      fs.makeDirectory(request, NodeID(number: parent), name, mode: mode)
    }
    table.symlink = { request, target, parent, name in
      guard let (fs, request) = begin(request), let name = text(name, request),
        let target = text(target, request)
      else { return }
      fs.makeSymbolicLink(request, NodeID(number: parent), name, target: target)
    }
    table.link = { request, node, parent, name in
      guard let (fs, request) = begin(request), let name = text(name, request) else { return }
      fs.makeHardLink(request, NodeID(number: node), NodeID(number: parent), name)
    }
    table.unlink = { request, parent, name in
      guard let (fs, request) = begin(request), let name = text(name, request) else { return }
      fs.remove(request, NodeID(number: parent), name)
    }
    table.rmdir = { request, parent, name in
      guard let (fs, request) = begin(request), let name = text(name, request) else { return }
      fs.removeDirectory(request, NodeID(number: parent), name)
    }
    table.rename = { request, parent, name, newParent, newName, flags in
      guard let (fs, request) = begin(request), let name = text(name, request),
        let newName = text(newName, request)
      else { return }
      fs.rename(
        request,
        NodeID(number: parent),
        name,
        NodeID(number: newParent),
        newName,
        flags: flags
      )
    }
    table.readlink = { request, node in
      guard let (fs, request) = begin(request) else { return }
      fs.readLink(request, NodeID(number: node))
    }
  }

  private static func addAttributes(_ table: inout fuse_lowlevel_ops) {
    table.getattr = { request, node, info in
      guard let (fs, request) = begin(request) else { return }
      fs.getAttributes(request, NodeID(number: node), handle: info?.pointee.fh)
    }
    table.setattr = { request, node, attributes, mask, info in
      guard let (fs, request) = begin(request), let attributes else { return }
      fs.setAttributes(
        request,
        NodeID(number: node),
        handle: info?.pointee.fh,
        AttributeChange(attributes.pointee, mask: mask)
      )
    }
    table.statfs = { request, _ in
      guard let (fs, request) = begin(request) else { return }
      fs.fileSystemStatus(request)
    }
  }

  private static func addFiles(_ table: inout fuse_lowlevel_ops) {
    table.open = { request, node, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.open(request, NodeID(number: node), flags: info.pointee.flags)
    }
    table.create = { request, parent, name, mode, info in
      guard let (fs, request) = begin(request), let name = text(name, request), let info
      else { return }
      fs.create(request, NodeID(number: parent), name, mode: mode, flags: info.pointee.flags)
    }
    table.read = { request, _, size, offset, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.read(request, handle: info.pointee.fh, offset: Int64(offset), count: size)
    }
    table.write = { request, _, bytes, size, offset, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.write(
        request,
        handle: info.pointee.fh,
        offset: Int64(offset),
        UnsafeRawBufferPointer(start: bytes, count: size)
      )
    }
    table.flush = { request, _, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.flush(request, handle: info.pointee.fh, owner: info.pointee.lock_owner)
    }
    table.release = { request, _, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.release(request, handle: info.pointee.fh)
    }
    table.fsync = { request, _, _, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.sync(request, handle: info.pointee.fh)
    }
    table.fallocate = { request, _, mode, offset, length, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.allocate(
        request,
        handle: info.pointee.fh,
        mode: mode,
        offset: Int64(offset),
        length: Int64(length)
      )
    }
    table.lseek = { request, _, offset, whence, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.seek(request, handle: info.pointee.fh, offset: Int64(offset), whence: whence)
    }
  }

  private static func addDirectories(_ table: inout fuse_lowlevel_ops) {
    table.opendir = { request, node, _ in
      guard let (fs, request) = begin(request) else { return }
      fs.openDirectory(request, NodeID(number: node))
    }
    table.readdir = { request, _, size, offset, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.list(
        request,
        handle: info.pointee.fh,
        offset: Int64(offset),
        count: size,
        plus: false
      )
    }
    table.readdirplus = { request, _, size, offset, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.list(request, handle: info.pointee.fh, offset: Int64(offset), count: size, plus: true)
    }
    table.releasedir = { request, _, info in
      guard let (fs, request) = begin(request), let info else { return }
      fs.releaseDirectory(request, handle: info.pointee.fh)
    }
    table.fsyncdir = { request, node, _, _ in
      guard let (fs, request) = begin(request) else { return }
      fs.syncDirectory(request, NodeID(number: node))
    }
  }

  private static func addLocks(_ table: inout fuse_lowlevel_ops) {
    table.getlk = { request, _, info, lock in
      guard let (fs, request) = begin(request), let info, let lock else { return }
      fs.testLock(
        request,
        handle: info.pointee.fh,
        owner: info.pointee.lock_owner,
        lock.pointee
      )
    }
    table.setlk = { request, _, info, lock, sleep in
      guard let (fs, request) = begin(request), let info, let lock else { return }
      fs.setLock(
        request,
        handle: info.pointee.fh,
        owner: info.pointee.lock_owner,
        lock.pointee,
        wait: sleep != 0,
        onInterrupt: interrupt
      )
    }
  }
}

/// The file system a request is for, and the request in our form.
private func begin(_ request: fuse_req_t?) -> (FileSystem, FuseRequest)? {
  guard let request, let context = fuse_req_userdata(request) else { return nil }
  let session = Unmanaged<FuseSession>.fromOpaque(context).takeUnretainedValue()
  let fileSystem = session.fileSystem
  return (fileSystem, FuseRequest(request, fileSystem.outstanding))
}

/// A name or path the kernel sent.
private func text(_ pointer: UnsafePointer<CChar>?, _ request: FuseRequest) -> String? {
  if let pointer { return SystemPath.text(pointer) }
  request.fail(EINVAL)
  return nil
}

/// The token is the one `FuseRequest.onInterrupt` was given.
private let interrupt: fuse_interrupt_func_t = { request, token in
  guard let request, let context = fuse_req_userdata(request) else { return }
  Unmanaged<FuseSession>.fromOpaque(context).takeUnretainedValue().fileSystem
    .interrupt(UInt64(UInt(bitPattern: token)))
}

extension AttributeChange {
  fileprivate init(_ attributes: stat, mask: Int32) {
    func has(_ bit: Int32) -> Bool { mask & bit != 0 }
    if has(FUSE_SET_ATTR_MODE) { mode = attributes.st_mode }
    if has(FUSE_SET_ATTR_UID) { uid = attributes.st_uid }
    if has(FUSE_SET_ATTR_GID) { gid = attributes.st_gid }
    if has(FUSE_SET_ATTR_SIZE) { size = Int64(attributes.st_size) }
    if has(FUSE_SET_ATTR_ATIME) { accessed = attributes.st_atim }
    if has(FUSE_SET_ATTR_MTIME) { modified = attributes.st_mtim }
    let now = timespec(tv_sec: 0, tv_nsec: HALITE_UTIME_NOW)
    if has(FUSE_SET_ATTR_ATIME_NOW) { accessed = now }
    if has(FUSE_SET_ATTR_MTIME_NOW) { modified = now }
  }
}
