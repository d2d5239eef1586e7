import Foundation
import HTTPTypes
import Hummingbird

/// Turns requests away before anybody looks at their tokens: too many from one address, and writes where none are taken.
struct Admission: RouterMiddleware {
  typealias Context = ServerRequestContext

  /// What probes ask; a limit on these would take a server out of its balancer.
  static let unlimited: Set = [
    "/health", "/health/live", "/health/ready", "/health/master", "/metrics", "/version",
  ]
  private static let reads: Set<HTTPRequest.Method> = [.get, .head, .options]

  let configuration: ServerConfiguration
  let status: HAStatus
  let limiter: MeteredLimiter

  func handle(
    _ request: Request,
    context: Context,
    next: @concurrent (Request, Context) async throws -> Response
  ) async throws -> Response {
    if !Self.unlimited.contains(request.uri.path) {
      try limiter.check(.ip, client(request, context))
    }
    if configuration.writeGuard == .redirect, !Self.reads.contains(request.method), !status.isMaster
    {
      throw APIError.notMaster(status.masterURL)
    }
    return try await next(request, context)
  }

  /// The address a request comes from. `X-Forwarded-For` is read from its end for as long as each hop is a balancer
  /// that is trusted: what a client wrote into it itself stands before that.
  private func client(_ request: Request, _ context: Context) -> String {
    var address = context.address ?? "unknown"
    guard !configuration.trustedProxies.isEmpty else { return address }
    let hops = request.headers[values: .forwardedFor].joined(separator: ",").split(separator: ",")
    for hop in hops.reversed() {
      guard configuration.trustedProxies.contains(where: { $0.contains(address) }) else { break }
      let text = hop.trimmingCharacters(in: .whitespaces)
      guard CIDR.bytes(of: text) != nil else { break }
      address = text
    }
    return address
  }
}

/// Rate limits, counted.
struct MeteredLimiter: Sendable {
  let limiter: RateLimiter
  let metrics: ServerMetrics
  let clock: ServerClock

  /// - Throws: `APIError.limited`.
  func check(_ kind: RateLimits.Kind, _ caller: String) throws {
    guard limiter.limits(kind) else { return }
    let wait = limiter.refusal(kind, caller, now: clock.uptime())
    metrics.add(
      MetricNames.limitChecks,
      ["limit_type": kind.rawValue, "allowed": wait == nil ? "true" : "false"]
    )
    guard let wait else { return }
    metrics.add(MetricNames.limitBlocks, ["limit_type": kind.rawValue])
    throw APIError.limited(wait)
  }
}
