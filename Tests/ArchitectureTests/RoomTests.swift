import Testing

/// The rooms of the house and the doors between them (docs/architecture.md).
@Suite(.timeLimit(.minutes(5))) struct RoomTests {
  /// What each room may use of ours. A new edge is a decision, to be made here.
  static let doors: [String: Set<String>] = [
    "CArchive": [],
    "CFuse3": [],
    "CLZ4": [],
    "LTX": ["CLZ4"],
    "Store": ["LTX"],
    "FuseFS": ["CFuse3", "Store"],
    "Lease": [],
    "Replication": ["LTX", "Store"],
    "Node": ["LTX", "Store", "FuseFS", "Lease", "Replication"],
    "halite": ["LTX", "Node"],
    // An application: it knows nothing of ours, and nothing of ours knows it.
    "Server": ["CArchive"],
    "nebulagc-server": ["Server"],
  ]

  /// What a room must not even import of others, since it would be more than its subject.
  static let foreign: [String: Set<String>] = [
    "LTX": ["Foundation", "NIOCore", "Logging"],
    "Store": ["Foundation", "NIOCore", "NIOPosix"],
    "FuseFS": ["Foundation", "NIOCore", "NIOPosix"],
    "Lease": ["NIOCore", "NIOPosix"],
    "nebulagc-server": ["NIOCore", "NIOPosix", "Hummingbird", "GRDB"],
    "halite": ["NIOCore", "NIOPosix", "Hummingbird", "X509"],
  ]

  @Test func thePackageHasNoOtherDoors() throws {
    let package = try PackageDescription.load()
    let ours = Set(Self.doors.keys)
    var seen: Set<String> = []
    for target in package.targets where target.type != "test" && target.name != "CSQLite" {
      let allowed = try #require(
        Self.doors[target.name],
        "\(target.name) is a room that the architecture does not know"
      )
      let used = Set(target.target_dependencies ?? []).intersection(ours)
      #expect(used.isSubset(of: allowed), "\(target.name) uses \(used.subtracting(allowed))")
      seen.insert(target.name)
    }
    #expect(seen == ours)
  }

  @Test func sourcesImportOnlyWhatTheirRoomMay() throws {
    let ours = Set(Self.doors.keys)
    for source in try Repository.sources() {
      let allowed = try #require(Self.doors[source.room], "\(source)")
      let imports = Self.imports(of: source)
      let ofOurs = imports.intersection(ours)
      #expect(ofOurs.isSubset(of: allowed), "\(source) imports \(ofOurs.subtracting(allowed))")
      let strange = imports.intersection(Self.foreign[source.room] ?? [])
      #expect(strange.isEmpty, "\(source) imports \(strange)")
    }
  }

  private static func imports(of source: Repository.Source) -> Set<String> {
    var modules: Set<String> = []
    for line in SwiftText(source.text).code {
      let words = line.split(separator: " ")
      guard let keyword = words.firstIndex(of: "import"), keyword + 1 < words.count,
        words[..<keyword].allSatisfy({
          ["public", "package", "internal", "private", "fileprivate"].contains($0)
            || $0.hasPrefix("@")
        })
      else { continue }
      modules.insert(String(words[keyword + 1].prefix { $0 != "." }))
    }
    return modules
  }
}
