import Foundation
import GRDB
import HTTPTypes
import Hummingbird
import NIOCore

/// Versions and bundles of a cluster's configuration.
extension ServerAPI {
  private struct Version: Encodable { let version: Int64 }
  private struct Uploaded: Encodable {
    let version: Int64
    let message: String
  }

  private enum Found: Sendable {
    /// The client has the newest.
    case current(Int64)
    case newer(Int64, Data)
  }

  func addConfig(to group: RouterGroup<Context>) {
    group.get("version") { request, _ in
      let version = try await readAsNode(request, .config) { database, caller in
        try ClusterQueries.find(database, caller.clusterID).configVersion
      }
      return try Answer.data(Version(version: version))
    }
    group.get("bundle") { request, _ in try await downloadBundle(request) }
    group.post("bundle") { request, _ in try await uploadBundle(request) }
  }

  /// The client's version is that of its bundle, or that of the cluster when it last looked, which also
  /// grows with changes that make no bundle; both mean that nothing older than the newest bundle is of use.
  private func downloadBundle(_ request: Request) async throws -> Response {
    let known = max(try currentVersion(request), etagVersion(request))
    let found: Found = try await readAsNode(request, .config) { database, caller in
      guard
        let newest = try ClusterQueries.newestBundleVersion(database, caller.clusterID)
      else { throw APIError.notFound("a bundle of this cluster") }
      let cluster = try ClusterQueries.find(database, caller.clusterID)
      // A version from the future is of another history: of a backup that was taken back.
      if known >= newest, known <= max(newest, cluster.configVersion) { return .current(newest) }
      guard let data = try ClusterQueries.bundle(database, caller.clusterID, version: newest) else {
        throw APIError.notFound("bundle \(newest)")
      }
      return .newer(newest, data)
    }
    switch found {
    case .current(let version):
      return Response(status: .notModified, headers: [.eTag: "\"v\(version)\""])
    case .newer(let version, let data):
      metrics.add(MetricNames.bundles, ["operation": "download", "status": "success"])
      var headers = Answer.headers("application/gzip")
      headers[.eTag] = "\"v\(version)\""
      headers[.configVersion] = String(version)
      headers[.contentDisposition] = "attachment; filename=\"config-v\(version).tar.gz\""
      return Response(
        status: .ok,
        headers: headers,
        body: .init(byteBuffer: ByteBuffer(bytes: data))
      )
    }
  }

  private func currentVersion(_ request: Request) throws -> Int64 {
    guard let text = request.uri.queryParameters["current_version"] else { return 0 }
    guard let version = Int64(text), version >= 0 else {
      throw APIError(.badRequest, "invalid_version", "current_version must be a whole number")
    }
    return version
  }

  /// The largest of `If-None-Match: "v3", W/"v4"`; 0 for anything else.
  private func etagVersion(_ request: Request) -> Int64 {
    (request.headers[.ifNoneMatch] ?? "").split(separator: ",").reduce(0) { largest, tag in
      var tag = tag.trimmingCharacters(in: .whitespaces)
      if tag.hasPrefix("W/") { tag.removeFirst(2) }
      guard tag.hasPrefix("\"v"), tag.hasSuffix("\"") else { return largest }
      return max(largest, Int64(tag.dropFirst(2).dropLast()) ?? 0)
    }
  }

  private func uploadBundle(_ request: Request) async throws -> Response {
    let writer = try await nodeWriter(request, .config, admin: true)
    let type = (request.headers[.contentType] ?? "").split(separator: ";").first ?? ""
    guard ["application/gzip", "application/x-gzip"].contains(type.lowercased()) else {
      throw APIError(
        .unsupportedMediaType,
        "invalid_content_type",
        "the Content-Type must be application/gzip"
      )
    }
    let buffer = try await body(request, upTo: BundleArchive.maximumSize, "bundle_too_large")
    let data = Data(buffer.readableBytesView)
    try await inBackground { try BundleArchive.check(data) }
    let now = now
    let version = try await writeAsNode(writer) { database, caller in
      let cluster = try ClusterQueries.find(database, caller.clusterID)
      let version = try ClusterQueries.bumpVersion(database, cluster.id)
      try ClusterQueries.insertBundle(
        database,
        cluster: cluster,
        version: version,
        data: data,
        by: caller.id,
        now: now
      )
      return version
    }
    metrics.add(MetricNames.bundles, ["operation": "upload", "status": "success"])
    return try Answer.data(Uploaded(version: version, message: "bundle stored"))
  }
}
