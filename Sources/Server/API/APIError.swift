import HTTPTypes

/// A refusal as clients see it: a status, a word for programs and a sentence for people.
struct APIError: Error, Equatable {
  var status: HTTPResponse.Status
  var code: String
  var message: String
  /// Seconds after which another try makes sense (`Retry-After`).
  var retryAfter: Int?
  /// Where the master is, when it has to be asked instead.
  var masterURL: String?

  init(
    _ status: HTTPResponse.Status,
    _ code: String,
    _ message: String,
    retryAfter: Int? = nil,
    masterURL: String? = nil
  ) {
    self.status = status
    self.code = code
    self.message = message
    self.retryAfter = retryAfter
    self.masterURL = masterURL
  }

  static func invalid(_ message: String) -> APIError {
    APIError(.badRequest, "invalid_request", message)
  }
  /// The request can be read, but what it says cannot be.
  static func unprocessable(_ message: String) -> APIError {
    APIError(.unprocessableContent, "invalid_request", message)
  }
  static func notFound(_ what: String) -> APIError {
    APIError(.notFound, "not_found", "\(what) does not exist")
  }
  static func conflict(_ message: String) -> APIError { APIError(.conflict, "conflict", message) }
  static func tooLarge(_ code: String, _ limit: Int) -> APIError {
    APIError(.contentTooLarge, code, "the body is larger than \(limit) bytes")
  }
  static let unauthorized = APIError(
    .unauthorized,
    "unauthorized",
    "a valid token is required"
  )
  static let forbidden = APIError(.forbidden, "forbidden", "only an administrator node may do this")
  static func notReady(_ reason: String) -> APIError {
    APIError(.serviceUnavailable, "not_ready", reason, retryAfter: 1)
  }
  static func databaseUnavailable(_ reason: String) -> APIError {
    APIError(
      .serviceUnavailable,
      "database_unavailable",
      "\(reason); nothing was changed",
      retryAfter: 1
    )
  }
  static let outcomeUnknown = APIError(
    .internalServerError,
    "outcome_unknown",
    "the change may or may not have been made; look whether it was before trying again"
  )
  static func limited(_ seconds: Int) -> APIError {
    APIError(
      .tooManyRequests,
      "rate_limit_exceeded",
      "too many requests; try again in \(seconds) s",
      retryAfter: seconds
    )
  }
  static let masterInDoubt = APIError(
    .serviceUnavailable,
    "no_master",
    "this server was the master, and cannot write any more; ask another one, or again in a moment",
    retryAfter: 1
  )
  static func notMaster(_ url: String?) -> APIError {
    let there = url.map { "; the master is \($0)" } ?? ", and no master is known"
    return APIError(
      .serviceUnavailable,
      "not_master",
      "this server takes no writes\(there)",
      retryAfter: 1,
      masterURL: url
    )
  }
}
