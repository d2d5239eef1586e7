import Testing

@testable import FuseFS

struct CapabilityTests {
  /// These tests mount with passthrough, so whatever runs them must be able to.
  @Test(.timeLimit(.minutes(1))) func thisMachineCanPassThrough() async throws {
    let capabilities = try await offPool { FuseCapabilities.probe() }
    #expect(capabilities.canMount)
    #expect(capabilities.canPassThrough)
    #expect(
      capabilities.findings.map(\.subject) == [
        "/dev/fuse", "CAP_SYS_ADMIN", "kernel", "passthrough", "allow-other", "fusermount3",
      ]
    )
    for finding in capabilities.findings {
      #expect(finding.level == .good || finding.hint != nil, "\(finding)")
    }
  }
}
