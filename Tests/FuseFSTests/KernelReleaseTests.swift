import Testing

@testable import FuseFS

struct KernelReleaseTests {
  @Test(arguments: [
    ("6.18.44-fc", true), ("6.13.0", true), ("7.0", true), ("6.12.99", false), ("5.20.1", false),
    ("6", false), ("", false),
  ])
  func isCompared(text: String, isRecent: Bool) {
    #expect(KernelRelease(text: text).isAtLeast(6, 13) == isRecent)
  }

  @Test func theRunningOne() { #expect(KernelRelease.running.isAtLeast(3, 0)) }
}
