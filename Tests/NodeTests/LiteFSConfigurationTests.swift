import Testing

@testable import Node

/// A `litefs.yml`: each key works or is named as having no effect.
@Suite struct LiteFSConfigurationTests {
  @Test func everyKeyWorksOrIsNamed() {
    let (configuration, problems) = parseConfiguration(
      """
      exit-on-error: true
      skip-sync: false
      strict-verify: false
      exec:
        - cmd: "migrate --up"
          if-candidate: true
        - cmd: "server"
      data: {dir: /data, compress: true, retention: 10m, retention-monitor-interval: 1m}
      fuse: {dir: /mnt/db, allow-other: true, debug: false}
      http: {addr: ":20202", snapshot-timeout: 1m}
      proxy: {addr: ":8080", target: "localhost:80", db: my.db, passthrough: ["*.ico"]}
      lease:
        type: static
        hostname: node2
        advertise-url: "http://node1:20202"
        candidate: false
        promote: true
        reconnect-delay: 1s
        demote-delay: 10s
        databases: []
        consul: {url: "http://localhost:8500", key: litefs/primary, ttl: 10s, lock-delay: 1s}
      backup: {type: file, path: /backup}
      log: {format: text, timestamp: false, debug: true}
      tracing: {enabled: true}
      replication: {tls: {insecure: true}}
      """
    )
    let named = problems.filter { $0.contains("has no effect") }
    let keys = [
      "exit-on-error", "skip-sync", "strict-verify", "data.retention-monitor-interval",
      "fuse.debug", "http.snapshot-timeout", "proxy", "lease.promote", "lease.reconnect-delay",
      "lease.demote-delay", "lease.databases", "lease.consul", "backup", "log.timestamp",
      "tracing",
    ]
    for key in keys {
      #expect(named.contains { $0.contains("\"\(key)\" has no effect") }, "\(key)")
    }
    #expect(named.count == keys.count)
    #expect(configuration.data.directory == "/data")
    #expect(configuration.fuse.allowOther)
    #expect(configuration.log.level == .debug)
    #expect(
      configuration.exec == [
        ExecCommand(arguments: ["migrate", "--up"], onlyIfCandidate: true),
        ExecCommand(arguments: ["server"]),
      ]
    )
    let primary = SocketAddressText(host: "node1", port: 20_203)
    #expect(configuration.lease.kind == .fixed(primary: primary, isPrimary: false))
  }

  @Test func theCandidateOfAStaticLeaseIsThePrimary() {
    let (configuration, problems) = parseConfiguration(
      """
      replication: {tls: {insecure: true}, addr: "127.0.0.1:20203", advertise: "127.0.0.1:20203"}
      lease: {type: static, advertise-url: "http://127.0.0.1:20202", candidate: true}
      """
    )
    #expect(problems.filter { $0.contains("error") } == [])
    #expect(configuration.isCandidate)
  }
}
