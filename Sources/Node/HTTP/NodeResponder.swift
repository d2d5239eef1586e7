import HTTPTypes
import Hummingbird
import NIOCore

/// Answers every HTTP request: a handful of fixed paths, read only.
///
/// There is nothing to route by pattern, and a table of our own gives the exact answers that
/// probes and proxies rely on: 405 with `Allow` for another method, 404 for another path.
struct NodeResponder: HTTPResponder {
  typealias Context = NodeRequestContext

  let node: any NodeInspecting
  let registry: PrometheusRegistry

  private struct Health: Encodable { let status: String }
  private struct Ready: Encodable {
    let ready: Bool
    let reason: String?
  }
  private struct Failure: Encodable { let error: String }

  func respond(to request: Request, context: Context) async throws -> Response {
    guard let make = answer(request.uri.path) else {
      return try .json(
        .notFound,
        Failure(error: "unknown path; try /health /ready /metrics /status /events")
      )
    }
    guard request.method == .get || request.method == .head else {
      var response = try Response.json(
        .methodNotAllowed,
        Failure(error: "read only; use the halite command for changes")
      )
      response.headers[.allow] = "GET, HEAD"
      return response
    }
    if request.method == .head, request.uri.path == "/events" {
      return Response(status: .ok, headers: Response.headers("application/x-ndjson"))
    }
    var response = try make(context)
    if request.method == .head { response.body = .init() }
    return response
  }

  private func answer(_ path: String) -> ((Context) throws -> Response)? {
    switch path {
    case "/health": { _ in try .json(.ok, Health(status: "ok")) }
    case "/ready": { _ in try ready() }
    case "/metrics": { _ in metrics() }
    case "/status":
      { _ in
        .whole(.ok, "application/json", try StatusJSON.pretty(node.status()) + [0x0a])
      }
    case "/events": events
    case "/":
      { _ in
        .whole(
          .ok,
          "text/html; charset=utf-8",
          Array(StatusPage.html(node.status(), node.readiness()).utf8)
        )
      }
    default: nil
    }
  }

  private func ready() throws -> Response {
    switch node.readiness() {
    case .ready: try .json(.ok, Ready(ready: true, reason: nil))
    case .notReady(let reason):
      try .json(.serviceUnavailable, Ready(ready: false, reason: reason))
    }
  }

  private func metrics() -> Response {
    let text =
      StatusMetrics.text(node.status(), isReady: node.readiness() == .ready) + registry.text()
    return .whole(.ok, "text/plain; version=0.0.4; charset=utf-8", Array(text.utf8))
  }

  /// Events as they happen, one JSON object a line; an empty line is a heartbeat.
  private func events(_ context: Context) throws -> Response {
    let hub = node.events
    let channel = context.channel
    // A client that falls behind may not be reading at all; only closing ends a write to it.
    guard let subscription = hub.subscribe(onDrop: { channel.close(promise: nil) }) else {
      return try .json(.serviceUnavailable, Failure(error: "too many listeners; try again later"))
    }
    return Response(
      status: .ok,
      headers: Response.headers("application/x-ndjson"),
      body: .init { writer in
        defer { hub.unsubscribe(subscription) }
        for await event in subscription.events {
          var line = ByteBuffer()
          if let event { line.writeBytes(try StatusJSON.line(event)) }
          line.writeInteger(UInt8(ascii: "\n"))
          try await writer.write(line)
        }
        try await writer.finish(nil)
      }
    )
  }
}
