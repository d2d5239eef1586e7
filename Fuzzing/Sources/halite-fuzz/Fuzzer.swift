import CFuzzer
import Foundation
import FuzzFormats

/// Runs libFuzzer on one target: `halite-fuzz TARGET CORPUS [libFuzzer's options]`.
///
/// The target's seeds are written into the corpus directory first. Where a file stands in its place, that
/// input is run and no other. With `list` instead of a target, the names of all of them.
@main enum Fuzzer {
  /// libFuzzer calls a C function, which can capture nothing.
  nonisolated(unsafe) private static var target: FuzzTarget?

  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 3 else {
      if arguments.count == 2, arguments[1] == "list" {
        for target in FormatTargets.all { print(target.name) }
        return
      }
      throw FuzzFinding("halite-fuzz TARGET CORPUS [option]…, or halite-fuzz list")
    }
    guard let target = FormatTargets.all.first(where: { $0.name == arguments[1] }) else {
      throw FuzzFinding("there is no target \(arguments[1])")
    }
    Self.target = target
    if isDirectory(arguments[2]) || !FileManager.default.fileExists(atPath: arguments[2]) {
      try writeSeeds(of: target, to: URL(fileURLWithPath: arguments[2]))
    }
    exit(run([arguments[0], "-max_len=\(target.maxBytes)"] + arguments.dropFirst(2)))
  }

  private static func isDirectory(_ path: String) -> Bool {
    var isDirectory: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory)
      && isDirectory.boolValue
  }

  private static func writeSeeds(of target: FuzzTarget, to corpus: URL) throws {
    try FileManager.default.createDirectory(at: corpus, withIntermediateDirectories: true)
    for (number, seed) in try target.seeds().enumerated() {
      try Data(seed).write(to: corpus.appendingPathComponent("seed-\(number)"))
    }
  }

  private static func run(_ arguments: [String]) -> Int32 {
    var count = Int32(arguments.count)
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    return pointers.withUnsafeMutableBufferPointer { pointers in
      var vector = pointers.baseAddress
      return LLVMFuzzerRunDriver(&count, &vector) { data, size in
        do {
          try Fuzzer.target?.run(Array(UnsafeBufferPointer(start: data, count: size)))
        } catch let finding as FuzzFinding {
          fatalError(finding.description)
        } catch {
          fatalError("an error that no decoder throws: \(error)")
        }
        return 0
      }
    }
  }
}
