import HTTPTypes
import Hummingbird

/// Lets pages of the configured origins ask (the CORS protocol of the Fetch standard).
///
/// The framework's own middleware answers every origin or one; a list needs the origin compared first.
struct CORS: RouterMiddleware {
  typealias Context = ServerRequestContext

  private static let allowed: HTTPFields = [
    .accessControlAllowMethods: "GET, HEAD, POST, PUT, PATCH, DELETE",
    .accessControlAllowHeaders:
      "Authorization, Content-Type, If-None-Match, X-NebulaGC-Node-Token, X-NebulaGC-Cluster-Token",
    // Seconds for which a browser need not ask again.
    .accessControlMaxAge: "600",
  ]
  private static let exposed =
    "ETag, Retry-After, X-Config-Version, X-NebulaGC-Master-URL, X-Request-Id"

  let origins: Set<String>

  func handle(
    _ request: Request,
    context: Context,
    next: @concurrent (Request, Context) async throws -> Response
  ) async throws -> Response {
    guard let origin = request.headers[.origin], origins.contains(origin) || origins.contains("*")
    else { return try await next(request, context) }
    let isPreflight =
      request.method == .options && request.headers[.accessControlRequestMethod] != nil
    var response =
      isPreflight
      ? Response(status: .noContent, headers: Self.allowed) : try await next(request, context)
    response.headers[.accessControlAllowOrigin] = origin
    response.headers[.accessControlExposeHeaders] = Self.exposed
    response.headers[values: .vary].append("Origin")
    return response
  }
}
