import Foundation
import LTX
import Replication
import Store
import Testing

@testable import Node

/// Which cluster a node belongs to, across restarts.
struct ClusterFileTests {
  private func withDirectory(_ body: (String) throws -> Void) throws {
    let directory = FileManager.default.temporaryDirectory
      .appendingPathComponent("halite-cluster-file-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try body(directory)
  }

  private func open(_ directory: String) throws -> ClusterFile {
    try ClusterFile(directory: directory, disk: SystemDisk())
  }

  private func name(_ text: String) throws -> ClusterID { try #require(ClusterID(rawValue: text)) }

  @Test func aProposedNameBindsNobody() throws {
    let (first, second) = (try name("first"), try name("second"))
    try withDirectory { directory in
      let file = try open(directory)
      #expect(file.cluster == nil && file.given == nil)
      try file.adopt(cluster: first, term: Term(3), isConfirmed: false)
      for file in [file, try open(directory)] {
        #expect(file.cluster == nil && file.given == first && file.term == Term(3))
      }
      try file.adopt(cluster: second, term: Term(2), isConfirmed: false)
      for file in [file, try open(directory)] {
        #expect(file.cluster == nil && file.given == second && file.term == Term(3))
      }
    }
  }

  @Test func aConfirmedNameStays() throws {
    let first = try name("first")
    try withDirectory { directory in
      let file = try open(directory)
      try file.adopt(cluster: first, term: Term(1), isConfirmed: false)
      try file.adopt(cluster: first, term: Term(1), isConfirmed: true)
      #expect(file.cluster == first)
      // A later term of it is not in doubt.
      try file.adopt(cluster: first, term: Term(2), isConfirmed: false)
      for file in [file, try open(directory)] {
        #expect(file.cluster == first && file.given == first && file.term == Term(2))
      }
    }
  }

  @Test(arguments: [
    "", "one\n", "one\nx\n", "one\n1\nsomething\n", "one\n1\nproposed\n2\n", "a b\n1\n",
  ])
  func damaged(text: String) throws {
    try withDirectory { directory in
      try Data(text.utf8).write(to: URL(fileURLWithPath: directory + "/cluster"))
      let error = #expect(throws: StoreError.self) { try open(directory) }
      #expect(error.map { "\($0)".contains("is damaged; copy the first line") } == true)
    }
  }
}
