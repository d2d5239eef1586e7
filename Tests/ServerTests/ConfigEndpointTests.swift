import Foundation
import Testing

@testable import Server

@Suite(.timeLimit(.minutes(2))) struct ConfigEndpointTests {
  /// A gzip-compressed tar archive of files with these contents, made by tar.
  private func archive(
    _ files: [String: String],
    in directory: String,
    names: String = "."
  ) throws -> Data {
    let source = directory + "/" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: source, withIntermediateDirectories: true)
    for (name, text) in files {
      try Data(text.utf8).write(to: URL(fileURLWithPath: source + "/" + name))
    }
    let target = source + ".tar.gz"
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/tar")
    process.arguments =
      ["-C", source, "-czf", target] + (names == "." ? ["."] : files.keys.sorted())
    try process.run()
    process.waitUntilExit()
    return try Data(contentsOf: URL(fileURLWithPath: target))
  }

  private let whole = [
    "config.yml": "pki:\n  ca: ca.crt\n", "ca.crt": "ca", "crl.pem": "crl", "host.crt": "crt",
    "host.key": "key",
  ]

  private func upload(
    _ server: LiveServer,
    _ token: String,
    _ data: Data,
    type: String = "application/gzip"
  ) async throws -> LiveServer.Reply {
    try await server.send(
      "POST",
      "/api/v1/config/bundle",
      token: token,
      headers: ["Content-Type": type],
      body: data
    )
  }

  @Test(arguments: [".", "names"])
  func aBundleIsStoredAndFetchedOnce(names: String) async throws {
    try await LiveServer.with { server in
      let made = try await server.makeCluster()
      let token = made.nodeToken
      let path = "/api/v1/config/bundle"
      #expect(try await server.send("GET", path, token: token).status == 404)
      let data = try archive(whole, in: server.directory, names: names)
      let stored = try await upload(server, token, data)
      #expect(stored.status == 200, "\(stored.text)")
      #expect(stored.value("data", "version") == AnyHashable(2))

      let fetched = try await server.send("GET", path, token: token)
      #expect(fetched.status == 200 && fetched.body == data)
      #expect(fetched.headers["etag"] == "\"v2\"")
      #expect(fetched.headers["x-config-version"] == "2")
      // A change that makes no bundle must not make clients fetch the one that they have.
      let routes = try await server.send(
        "PUT",
        "/api/v1/routes",
        token: token,
        json: #"{"routes":[]}"#
      )
      #expect(routes.status == 200)
      for (query, tag, status) in [
        ("", "\"v2\"", 304), ("?current_version=2", "", 304), ("?current_version=3", "", 304),
        ("?current_version=1", "", 200), ("?current_version=99", "", 200), ("", "\"x\"", 200),
        ("?current_version=-1", "", 400), ("?current_version=x", "", 400),
      ] {
        let reply = try await server.send(
          "GET",
          path + query,
          token: token,
          headers: tag.isEmpty ? [:] : ["If-None-Match": tag]
        )
        #expect(reply.status == status, "\(query) \(tag)")
      }
      let head = try await server.send("HEAD", path, token: token)
      #expect(head.status == 200 && head.body.isEmpty)
    }
  }

  @Test func whatIsNoBundleIsRefused() async throws {
    try await LiveServer.with { server in
      let made = try await server.makeCluster()
      let good = try archive(whole, in: server.directory)
      var noKey = whole
      noKey["host.key"] = nil
      var badYAML = whole
      badYAML["config.yml"] = "a: [1\n"
      let wrong: [(Data, String, Int, String)] = [
        (good, "text/plain", 415, "invalid_content_type"),
        (Data("no archive".utf8), "application/gzip", 422, "invalid_format"),
        (good.prefix(good.count / 2), "application/gzip", 422, "invalid_format"),
        (try archive(noKey, in: server.directory), "application/x-gzip", 422, "invalid_format"),
        (try archive(badYAML, in: server.directory), "application/gzip", 422, "invalid_format"),
        (Data(count: BundleArchive.maximumSize + 1), "application/gzip", 413, "bundle_too_large"),
      ]
      for (data, type, status, code) in wrong {
        let reply = try await upload(server, made.nodeToken, data, type: type)
        #expect(reply.status == status && reply.error == code, "\(reply.text)")
      }
      let version = try await server.send("GET", "/api/v1/config/version", token: made.nodeToken)
      #expect(version.value("data", "version") == AnyHashable(1))
    }
  }

  @Test func anArchiveThatGrowsIsNotUnpacked() throws {
    let directory = NSTemporaryDirectory() + "/nebulagc-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: directory) }
    var large = whole
    large["padding"] = String(repeating: "x", count: BundleArchive.maximumContents)
    let data = try archive(large, in: directory)
    #expect(data.count < BundleArchive.maximumSize)
    let error = #expect(throws: APIError.self) { try BundleArchive.check(data) }
    #expect(error?.message.contains("more than") == true)
  }
}
