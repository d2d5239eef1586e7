import Foundation
package import NIOCore

/// The conversation over the control socket.
///
/// A frame is one JSON object on a line of at most 16 KiB, ended by a line feed; a frame of type
/// `data` is followed by as many raw bytes as its `bytes` says, at most 1 MiB. The client opens
/// with `request`; both sides may then send `data` frames closed by `end`, and the node may send
/// `progress`; the node finishes with one `result` or one `error`, which may come at any time.
///
///     {"type":"request","command":"export","name":"app.db"}
///     {"type":"data","bytes":1048576}…          (raw bytes)
///     {"type":"result","text":"0000000000000007/8a3f…"}
///
/// Unknown keys are ignored, so either side may be newer.
package struct ControlFrame: Sendable, Equatable {
  package enum Kind: String, Codable, Sendable {
    case request, data, end, progress, result, error
  }

  package struct Header: Codable, Sendable, Equatable {
    package var type: Kind
    package var command: String?
    package var name: String?
    /// Bytes that follow a `data` line.
    package var bytes: Int?
    package var done: Int64?
    package var total: Int64?
    package var text: String?
  }

  package var header: Header
  package var payload: ByteBuffer?

  package init(_ header: Header, payload: ByteBuffer? = nil) {
    self.header = header
    self.payload = payload
  }

  static func request(_ command: String, name: String? = nil, total: Int64? = nil) -> Self {
    ControlFrame(Header(type: .request, command: command, name: name, total: total))
  }
  static func data(_ payload: ByteBuffer) -> Self {
    ControlFrame(Header(type: .data, bytes: payload.readableBytes), payload: payload)
  }
  static let end = ControlFrame(Header(type: .end))
  static func progress(_ done: Int64, of total: Int64) -> Self {
    ControlFrame(Header(type: .progress, done: done, total: total))
  }
  static func result(_ text: String) -> Self {
    ControlFrame(Header(type: .result, text: clipped(text)))
  }
  static func error(_ text: String) -> Self {
    ControlFrame(Header(type: .error, text: clipped(text)))
  }

  /// A text that fits a line even if JSON spells each byte with six.
  private static func clipped(_ text: String) -> String {
    String(decoding: text.utf8.prefix(2048), as: UTF8.self)
  }

  /// Bytes of one line.
  static let maximumLine = 16 * 1024
  /// Bytes of one `data` frame.
  static let maximumPayload = 1 << 20
}

/// A conversation that cannot go on.
package struct ControlError: Error, Sendable, CustomStringConvertible {
  package struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable { case notRunning, refused, broken, invalid, local }
    private let kind: Kind
    /// Nobody listens on the socket.
    package static let notRunning = Code(kind: .notRunning)
    /// The node said no.
    package static let refused = Code(kind: .refused)
    /// The connection ended in the middle.
    package static let broken = Code(kind: .broken)
    /// The other side does not keep to the protocol.
    package static let invalid = Code(kind: .invalid)
    /// Something on this side: a file, an argument.
    package static let local = Code(kind: .local)
  }

  package let code: Code
  package let message: String
  package let cause: (any Error)?

  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  package var description: String { cause.map { "\(message): \($0)" } ?? message }
}

/// Cuts the stream into frames.
struct ControlFrameDecoder: NIOSingleStepByteToMessageDecoder {
  typealias InboundOut = ControlFrame

  /// The header whose payload has not arrived whole.
  private var pending: ControlFrame.Header?

  mutating func decode(buffer: inout ByteBuffer) throws -> ControlFrame? {
    if let header = pending {
      guard let payload = buffer.readSlice(length: header.bytes ?? 0) else { return nil }
      pending = nil
      return ControlFrame(header, payload: payload)
    }
    guard let length = buffer.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) else {
      guard buffer.readableBytes <= ControlFrame.maximumLine else { throw Self.tooLong }
      return nil
    }
    let count = length - buffer.readerIndex
    guard count <= ControlFrame.maximumLine else { throw Self.tooLong }
    guard let line = buffer.readBytes(length: count), buffer.readBytes(length: 1) != nil
    else { return nil }
    let header: ControlFrame.Header
    do {
      header = try JSONDecoder().decode(ControlFrame.Header.self, from: Data(line))
    } catch {
      throw ControlError(.invalid, "a line on the control socket is not a known message")
    }
    guard header.type == .data else { return ControlFrame(header) }
    guard let bytes = header.bytes, (0...ControlFrame.maximumPayload).contains(bytes) else {
      throw ControlError(.invalid, "a message on the control socket has an impossible size")
    }
    pending = header
    return try decode(buffer: &buffer)
  }

  mutating func decodeLast(buffer: inout ByteBuffer, seenEOF: Bool) throws -> ControlFrame? {
    let frame = try decode(buffer: &buffer)
    if frame == nil, seenEOF, pending != nil || buffer.readableBytes > 0 {
      throw ControlError(.broken, "the control connection ended in the middle of a message")
    }
    return frame
  }

  private static var tooLong: ControlError {
    ControlError(.invalid, "a line on the control socket is too long")
  }
}

/// Writes frames as `ControlFrameDecoder` reads them.
struct ControlFrameEncoder: MessageToByteEncoder {
  typealias OutboundIn = ControlFrame

  func encode(data: ControlFrame, out: inout ByteBuffer) throws {
    let line = try StatusJSON.line(data.header)
    guard line.count <= ControlFrame.maximumLine else {
      throw ControlError(.local, "the request is too long; give a shorter name")
    }
    out.writeBytes(line)
    out.writeInteger(UInt8(ascii: "\n"))
    if var payload = data.payload { out.writeBuffer(&payload) }
  }
}

extension ControlFrame {
  typealias Channel = NIOAsyncChannel<ControlFrame, ControlFrame>

  /// Makes a connected socket speak frames.
  static func wrap(_ channel: any NIOCore.Channel) throws -> Channel {
    try channel.pipeline.syncOperations.addHandlers([
      ByteToMessageHandler(
        ControlFrameDecoder(),
        maximumBufferSize: maximumPayload + maximumLine + 65_536
      ),
      MessageToByteHandler(ControlFrameEncoder()),
    ])
    return try Channel(
      wrappingChannelSynchronously: channel,
      configuration: .init(
        // Few frames in flight: each may hold a megabyte.
        backPressureStrategy: .init(lowWatermark: 2, highWatermark: 4),
        isOutboundHalfClosureEnabled: false
      )
    )
  }
}
