// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that neither building Halite nor its tests ever build this. It needs
// nothing from the network: the system's SQLite, and a `halite` that was built before.
let package = Package(
  name: "halite-benchmarks",
  platforms: [.macOS(.v15)],
  targets: [
    .systemLibrary(
      name: "CSQLite",
      pkgConfig: "sqlite3",
      providers: [.apt(["libsqlite3-dev"])]
    ),
    .executableTarget(name: "halite-bench", dependencies: ["CSQLite"]),
  ],
  swiftLanguageModes: [.v6]
)

/// The language features of the main package.
let features: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),  // SE-0335
  .enableUpcomingFeature("MemberImportVisibility"),  // SE-0444
  .enableUpcomingFeature("InternalImportsByDefault"),  // SE-0409
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),  // SE-0461
  .enableUpcomingFeature("InferIsolatedConformances"),  // SE-0470
  .enableUpcomingFeature("ImmutableWeakCaptures"),  // SE-0481
  .treatAllWarnings(as: .error),  // SE-0443
]
for target in package.targets where target.type != .system {
  target.swiftSettings = (target.swiftSettings ?? []) + features
}
