// swift-tools-version: 6.2
import PackageDescription

// A package of its own, since everything in it is built to tell libFuzzer which branches an input
// took, and since it needs little: neither building Halite nor its tests ever build this. The rooms
// that decode files, and the targets that attack them, are links to where they are at home.
let package = Package(
  name: "halite-fuzzing",
  platforms: [.macOS(.v15)],
  dependencies: [
    .package(url: "https://github.com/apple/swift-log", exact: "1.16.2")
  ],
  targets: [
    .systemLibrary(
      name: "CLZ4",
      pkgConfig: "liblz4",
      providers: [.apt(["liblz4-dev"])]
    ),
    .target(name: "LTX", dependencies: ["CLZ4"]),
    .target(
      name: "Store",
      dependencies: ["LTX", .product(name: "Logging", package: "swift-log")]
    ),
    .target(
      name: "FuzzFormats",
      dependencies: ["LTX", "Store", .product(name: "Logging", package: "swift-log")]
    ),
    .target(name: "CFuzzer"),
    .executableTarget(
      name: "halite-fuzz",
      dependencies: ["CFuzzer", "FuzzFormats"],
      // gold, the toolchain's own choice, cannot read libFuzzer.
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])]
    ),
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
  // What decodes is watched; what attacks is not, or its own branches would count as news.
  switch target.name {
  case "LTX", "Store":
    target.swiftSettings?.append(.unsafeFlags(["-sanitize=fuzzer", "-enable-testing"]))
  default: break
  }
}
