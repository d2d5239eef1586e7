import GRDB
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// The outermost layer: whatever happens below becomes an answer, a number and a line in the log.
struct Gateway: RouterMiddleware {
  typealias Context = ServerRequestContext

  /// What the router calls a path that it does not know.
  private static let unknown = "NotFound"

  let status: HAStatus
  let metrics: ServerMetrics
  let clock: ServerClock
  let logger: Logger

  func handle(
    _ request: Request,
    context: Context,
    next: @concurrent (Request, Context) async throws -> Response
  ) async throws -> Response {
    let began = clock.uptime()
    metrics.add(MetricNames.inFlight)
    defer { metrics.add(MetricNames.inFlight, by: -1) }
    var failure: (any Error)?
    var response: Response
    do {
      response = try await next(request, context)
    } catch {
      failure = error
      response = try Answer.failure(refusal(error), requestID: context.requestID)
    }
    response.headers[.requestID] = context.requestID
    let seconds = clock.uptime() - began
    count(request, response, context, seconds)
    log(request, response, context, seconds, failure)
    return response
  }

  private func count(
    _ request: Request,
    _ response: Response,
    _ context: Context,
    _ seconds: Double
  ) {
    // A pattern and never the path itself, of which there is no end.
    let path = context.endpointPath.flatMap { $0 == Self.unknown ? nil : $0 } ?? "unmatched"
    let known: Set<HTTPRequest.Method> = [.get, .head, .post, .put, .patch, .delete, .options]
    let method = known.contains(request.method) ? request.method.rawValue : "other"
    metrics.add(
      MetricNames.requests,
      ["method": method, "path": path, "status": String(response.status.code)]
    )
    metrics.observe(MetricNames.requestSeconds, ["method": method, "path": path], seconds)
    if let size = response.body.contentLength, size > 0 {
      metrics.observe(MetricNames.responseBytes, ["method": method, "path": path], Double(size))
    }
  }

  private func log(
    _ request: Request,
    _ response: Response,
    _ context: Context,
    _ seconds: Double,
    _ failure: (any Error)?
  ) {
    let isOurFault = response.status == .internalServerError
    let level: Logger.Level = isOurFault ? .error : .info
    guard logger.logLevel <= level else { return }
    var metadata: Logger.Metadata = [
      "request_id": "\(context.requestID)", "method": "\(request.method.rawValue)",
      "path": "\(request.uri.path.prefix(256))", "status": "\(response.status.code)",
      "ms": "\((seconds * 10_000).rounded() / 10)", "client": "\(context.address ?? "unknown")",
    ]
    if let failure, isOurFault { metadata["error"] = "\(failure)" }
    logger.log(level: level, "Request", metadata: metadata)
  }

  /// What a client is told of an error.
  func refusal(_ error: any Error) -> APIError {
    switch error {
    case let error as APIError: return error
    case let error as HTTPError:
      if error.status == .notFound { return APIError(.notFound, "not_found", "no such path") }
      return APIError(error.status, "invalid_request", error.body ?? error.status.reasonPhrase)
    case let error as DatabaseError: return refusal(error)
    case let error as StorageError: return refusal(error)
    default:
      return APIError(.internalServerError, "internal_error", "an internal error occurred")
    }
  }

  /// With every 503 a change was certainly not made, so that whoever gets one may try again; where nobody knows, it is a 500.
  private func refusal(_ error: StorageError) -> APIError {
    switch error {
    case .tooManyReads, .tooManyWrites:
      APIError(.serviceUnavailable, "busy", "\(error)", retryAfter: 1)
    case .noAnswer, .undone: .databaseUnavailable("\(error)")
    case .outcomeUnknown: .outcomeUnknown
    }
  }

  private func refusal(_ error: DatabaseError) -> APIError {
    if error.extendedResultCode == .SQLITE_READONLY_DBMOVED {
      return .databaseUnavailable("the database was replaced")
    }
    switch error.resultCode {
    case .SQLITE_READONLY: return .notMaster(status.masterURL)
    case .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_PROTOCOL:
      return APIError(.serviceUnavailable, "busy", "the database is busy", retryAfter: 1)
    case .SQLITE_FULL:
      return APIError(.serviceUnavailable, "no_space", "the disk is full", retryAfter: 30)
    case .SQLITE_IOERR, .SQLITE_CANTOPEN, .SQLITE_NOTADB:
      return .databaseUnavailable("the database cannot be used")
    default:
      return APIError(.internalServerError, "internal_error", "an internal error occurred")
    }
  }
}
