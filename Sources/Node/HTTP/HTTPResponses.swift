import HTTPTypes
import Hummingbird
import NIOCore

/// The one request context: it keeps the connection, to end it when a listener falls behind.
struct NodeRequestContext: InitializableFromSource {
  let channel: any Channel

  init(source: ApplicationRequestContextSource) { channel = source.channel }
}

extension Response {
  /// A whole answer. Nothing here may be cached, guessed at, or load anything from elsewhere.
  static func whole(
    _ status: HTTPResponse.Status,
    _ type: String,
    _ body: [UInt8]
  ) -> Response {
    Response(
      status: status,
      headers: Self.headers(type),
      body: .init(byteBuffer: ByteBuffer(bytes: body))
    )
  }

  static func json(_ status: HTTPResponse.Status, _ value: some Encodable) throws -> Response {
    whole(status, "application/json", try StatusJSON.line(value) + [UInt8(ascii: "\n")])
  }

  static func headers(_ type: String) -> HTTPFields {
    var fields = HTTPFields()
    fields[.contentType] = type
    fields[.cacheControl] = "no-store"
    fields[.xContentTypeOptions] = "nosniff"
    fields[.contentSecurityPolicy] = "default-src 'none'; style-src 'unsafe-inline'"
    return fields
  }
}
