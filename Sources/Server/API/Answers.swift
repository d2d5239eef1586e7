import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// The forms of an answer: `{"data": …}`, `{"message": …}` or `{"error": …, "message": …}`.
enum Answer {
  private struct Data<Value: Encodable>: Encodable { let data: Value }
  private struct Message: Encodable { let message: String }
  private struct Failure: Encodable {
    let error: String
    let message: String
    let request_id: String?
    let master_url: String?
  }

  static func data(
    _ value: some Encodable,
    status: HTTPResponse.Status = .ok
  ) throws -> Response {
    try json(Data(data: value), status)
  }

  static func message(_ text: String) throws -> Response { try json(Message(message: text), .ok) }

  static func failure(_ error: APIError, requestID: String?) throws -> Response {
    let body = Failure(
      error: error.code,
      message: error.message,
      request_id: requestID,
      master_url: error.masterURL
    )
    var response = try json(body, error.status)
    if let seconds = error.retryAfter { response.headers[.retryAfter] = String(seconds) }
    if let url = error.masterURL { response.headers[.masterURL] = url }
    if error.status == .unauthorized {
      response.headers[.wwwAuthenticate] = "Bearer realm=\"nebulagc\""
    }
    return response
  }

  private static let encoder = {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.withoutEscapingSlashes]
    return encoder
  }()

  /// An object as it is, without `data` around it.
  static func json(_ value: some Encodable, _ status: HTTPResponse.Status) throws -> Response {
    let body = ByteBuffer(bytes: try encoder.encode(value))
    return Response(
      status: status,
      headers: headers("application/json; charset=utf-8"),
      body: .init(byteBuffer: body)
    )
  }

  static func headers(_ type: String) -> HTTPFields {
    [.contentType: type, .cacheControl: "no-store", .xContentTypeOptions: "nosniff"]
  }
}

extension HTTPField.Name {
  /// A name that is known to be one.
  private static func known(_ text: String) -> HTTPField.Name {
    guard let name = HTTPField.Name(text) else { preconditionFailure("\(text) is no field name") }
    return name
  }

  static let nodeToken = known("X-NebulaGC-Node-Token")
  static let clusterToken = known("X-NebulaGC-Cluster-Token")
  static let masterURL = known("X-NebulaGC-Master-URL")
  static let configVersion = known("X-Config-Version")
  static let requestID = known("X-Request-Id")
  static let forwardedFor = known("X-Forwarded-For")
}
