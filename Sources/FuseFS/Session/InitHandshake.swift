internal import CFuse3
internal import Glibc
internal import Synchronization

/// Asks for passthrough in the first exchange with the kernel, for libfuse 3.14, which cannot.
///
/// The kernel's first message, `FUSE_INIT`, says what it offers; libfuse's reply says what the
/// daemon wants. That reply is amended on its way out: the flag in the upper half of the flags,
/// the flag that says there is an upper half, and how deep file systems may be stacked.
final class InitHandshake: Sendable {
  /// The mount may stand on a plain file system only. The value 2 would allow one on overlayfs,
  /// and in exchange nobody could put an overlayfs on the mount.
  private static let maxStackDepth: UInt32 = 1

  private struct State: Sendable {
    var request: UInt64?
    var offered = false
  }

  private let wanted: Bool
  private let state = Mutex(State())
  /// Read for each message, so it must cost nothing once the handshake is over.
  private let finished = Atomic(false)

  init(passthrough: Bool) { wanted = passthrough }

  var isFinished: Bool { finished.load(ordering: .relaxed) }

  /// Whether the kernel offered passthrough and it was asked for.
  var agreed: Bool { state.withLock { $0.offered } && wanted }

  /// Looks at a message of the kernel.
  func received(_ message: UnsafeRawBufferPointer) {
    let headerSize = MemoryLayout<halite_in_header>.size
    guard message.count >= headerSize else { return }
    let header = message.loadUnaligned(as: halite_in_header.self)
    guard header.opcode == UInt32(HALITE_FUSE_INIT) else { return }
    state.withLock { $0.request = header.unique }
    // Older kernels send less.
    guard message.count >= headerSize + 5 * MemoryLayout<UInt32>.size else { return }
    let flags = message.loadUnaligned(fromByteOffset: headerSize + 12, as: UInt32.self)
    let flags2 = message.loadUnaligned(fromByteOffset: headerSize + 16, as: UInt32.self)
    let offered =
      flags & UInt32(HALITE_FUSE_INIT_EXT) != 0
      && flags2 & UInt32(HALITE_FUSE_PASSTHROUGH_FLAG2) != 0
    state.withLock { $0.offered = offered }
  }

  /// The message to send in place of libfuse's reply to `FUSE_INIT`; nil for all others.
  func amended(_ message: UnsafeBufferPointer<iovec>) -> [UInt8]? {
    guard let request = state.withLock({ $0.request }) else { return nil }
    var bytes: [UInt8] = []
    for part in message {
      bytes += UnsafeRawBufferPointer(start: part.iov_base, count: part.iov_len)
    }
    let headerSize = MemoryLayout<halite_out_header>.size
    guard bytes.count >= headerSize else { return nil }
    return bytes.withUnsafeMutableBytes { raw -> [UInt8]? in
      let header = raw.loadUnaligned(as: halite_out_header.self)
      guard header.unique == request else { return nil }
      finished.store(true, ordering: .relaxed)
      let size = MemoryLayout<halite_init_out>.size
      guard agreed, header.error == 0, raw.count >= headerSize + size else { return [UInt8](raw) }
      var reply = raw.loadUnaligned(fromByteOffset: headerSize, as: halite_init_out.self)
      reply.flags |= UInt32(HALITE_FUSE_INIT_EXT)
      reply.flags2 |= UInt32(HALITE_FUSE_PASSTHROUGH_FLAG2)
      reply.max_stack_depth = Self.maxStackDepth
      raw.storeBytes(of: reply, toByteOffset: headerSize, as: halite_init_out.self)
      return [UInt8](raw)
    }
  }
}
