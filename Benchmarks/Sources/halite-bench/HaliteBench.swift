import Foundation

/// Measures Halite beside the plain file system it stands on.
///
/// Numbers from one machine at one moment only mean something beside others from the same moment.
/// So each round measures the plain directory and the mount by turns, and what is printed is the
/// median of the rounds with the smallest and the largest.
///
/// This process never touches a mount itself: whoever hangs in a dead mount cannot be helped. It
/// runs itself as `halite-bench work …` for that, with a time limit.
@main
enum HaliteBench {
  static func main() {
    let arguments = Array(CommandLine.arguments.dropFirst())
    do {
      switch arguments.first {
      case "work": try Work.run(Array(arguments.dropFirst()))
      case "--help", "-h": print(Options.usage)
      default: try Run(Options(arguments)).perform()
      }
    } catch {
      FileHandle.standardError.write(Data("halite-bench: \(error)\n".utf8))
      exit(1)
    }
  }
}
