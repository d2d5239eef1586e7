internal import CFuse3
internal import Glibc
internal import Store
internal import Synchronization

/// One request of the kernel, answered exactly once and from any thread.
///
/// Should everybody who could answer it let go of it, it answers itself with EIO: no application
/// waits for ever because of a forgotten reply.
///
/// `@unchecked Sendable`: libfuse's reply functions may be called from any thread, and `answered`
/// lets only one call through.
final class FuseRequest: @unchecked Sendable {
  private let request: fuse_req_t
  private let answered = Atomic(false)
  private let outstanding: OutstandingRequests

  init(_ request: fuse_req_t, _ outstanding: OutstandingRequests) {
    self.request = request
    self.outstanding = outstanding
    outstanding.began()
  }

  deinit {
    if claim() {
      fuse_reply_err(request, EIO)
      outstanding.ended()
    }
  }

  var owner: FileOwner {
    guard let context = fuse_req_ctx(request) else { return FileOwner(uid: 0, gid: 0) }
    return FileOwner(uid: context.pointee.uid, gid: context.pointee.gid)
  }

  // MARK: Replies

  /// Success without content.
  func succeed() { fail(0) }

  func fail(_ number: Int32) {
    answer { fuse_reply_err($0, number) }
  }

  /// For requests that want no reply (forget).
  func ignore() {
    answer {
      fuse_reply_none($0)
      return 0
    }
  }

  /// - Parameter stability: how long a regular file stays as it is unless a client changes it, in seconds.
  func reply(attributes: FileAttributes, stability: Double) {
    var status = attributes.status
    let validity = attributes.validity(stability: stability)
    answer { fuse_reply_attr($0, &status, validity) }
  }

  /// - Returns: whether the kernel took it; if not, the node's lookup did not happen.
  func reply(entry node: NodeID, _ attributes: FileAttributes, stability: Double = 0) -> Bool {
    var entry = fuse_entry_param(node, attributes, stability: stability)
    return answer { fuse_reply_entry($0, &entry) }
  }

  /// Nothing has that name, nor will for so many seconds unless a client takes it.
  func reply(absentFor seconds: Double) {
    var entry = fuse_entry_param()
    entry.entry_timeout = seconds
    answer { fuse_reply_entry($0, &entry) }
  }

  func reply(link target: String) {
    answer { request in SystemPath.withBytes(target) { fuse_reply_readlink(request, $0) } }
  }

  func reply(written count: Int) {
    answer { fuse_reply_write($0, count) }
  }

  func reply(bytes: UnsafeRawBufferPointer) {
    answer {
      fuse_reply_buf($0, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
    }
  }

  func reply(fileSystem status: statvfs) {
    var status = status
    answer { fuse_reply_statfs($0, &status) }
  }

  func reply(lock: flock) {
    var lock = lock
    answer { fuse_reply_lock($0, &lock) }
  }

  func reply(offset: Int64) {
    answer { fuse_reply_lseek($0, off_t(offset)) }
  }

  /// - Returns: whether the kernel took it; if not, there will be no release.
  func reply(open: halite_open_out) -> Bool {
    replyRaw(open)
  }

  func reply(created: halite_create_out) -> Bool {
    replyRaw(created)
  }

  /// Sends a structure of the kernel's ABI as it is, which is how a reply carries what libfuse
  /// 3.14 does not know of.
  private func replyRaw<Reply: BitwiseCopyable>(_ reply: Reply) -> Bool {
    withUnsafeBytes(of: reply) { bytes in
      var vector = iovec(
        iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress),
        iov_len: bytes.count
      )
      return answer { fuse_reply_iov($0, &vector, 1) }
    }
  }

  // MARK: Directories

  /// Appends an entry to a listing; false when it does not fit.
  func append(
    _ name: String,
    _ attributes: FileAttributes,
    next: Int64,
    to buffer: inout ListingBuffer
  ) -> Bool {
    var status = attributes.status
    return buffer.append { place, room in
      SystemPath.withBytes(name) {
        fuse_add_direntry(request, place, room, $0, &status, off_t(next))
      }
    }
  }

  func append(
    _ name: String,
    node: NodeID,
    _ attributes: FileAttributes,
    next: Int64,
    to buffer: inout ListingBuffer
  ) -> Bool {
    var entry = fuse_entry_param(node, attributes)
    return buffer.append { place, room in
      SystemPath.withBytes(name) {
        fuse_add_direntry_plus(request, place, room, $0, &entry, off_t(next))
      }
    }
  }

  // MARK: Interruption

  /// Calls the session's interrupt handler with `token` when the application gets a signal.
  ///
  /// To be called before anybody else can answer the request.
  func onInterrupt(_ token: UInt64, _ handler: fuse_interrupt_func_t) {
    fuse_req_interrupt_func(request, handler, UnsafeMutableRawPointer(bitPattern: UInt(token)))
  }

  // MARK: -

  @discardableResult
  private func answer(_ send: (fuse_req_t) -> Int32) -> Bool {
    guard claim() else { return false }
    let result = send(request)
    outstanding.ended()
    return result == 0
  }

  private func claim() -> Bool {
    !answered.exchange(true, ordering: .relaxed)
  }
}

extension fuse_entry_param {
  fileprivate init(_ node: NodeID, _ attributes: FileAttributes, stability: Double = 0) {
    self.init()
    ino = node.number
    attr = attributes.status
    attr_timeout = attributes.validity(stability: stability)
    entry_timeout = attr_timeout
  }
}

/// Space for the entries of one listing request.
struct ListingBuffer {
  private let storage: UnsafeMutableRawBufferPointer
  private var used = 0

  init(_ storage: UnsafeMutableRawBufferPointer) { self.storage = storage }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: storage[..<used]) }

  /// `add` is libfuse's function: it returns the size needed, and writes only when that fits.
  fileprivate mutating func append(_ add: (UnsafeMutablePointer<CChar>?, Int) -> Int) -> Bool {
    let room = storage.count - used
    let place = storage.baseAddress.map { ($0 + used).assumingMemoryBound(to: CChar.self) }
    let needed = add(place, room)
    guard needed <= room else { return false }
    used += needed
    return true
  }
}
