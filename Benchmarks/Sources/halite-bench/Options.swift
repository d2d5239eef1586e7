import Foundation

/// What the command line asks for.
struct Options: Sendable {
  /// The command under test.
  var halite = ""
  var rounds = 3
  /// How long each measured loop runs, each round.
  var seconds = 2.0
  var isMarkdown = false
  /// SQLite's own benchmark, a program; without it that is left out.
  var speedtest: String?
  /// Where the picture goes.
  var picture: String?
  /// The size of the large database; zero leaves it out.
  var largeMiB = 1024
  /// The size of the database that a new replica gets.
  var snapshotMiB = 256
  /// What the nodes let the kernel pass through (`fuse.passthrough`).
  var passthrough = "databases"
  /// Where nodes and plain files lie: both on the same file system, or nothing is compared.
  var directory = FileManager.default.temporaryDirectory.path

  static let usage = """
    USAGE: halite-bench [--halite PATH] [--rounds N] [--seconds S] [--snapshot-size MIB]
                        [--large-size MIB] [--speedtest PROGRAM] [--svg FILE] [--directory D]
                        [--passthrough MODE] [--markdown]

      --halite PATH        the command under test (default: .build/release/halite here or above)
      --rounds N           rounds, of which the median is printed (default: 3)
      --seconds S          length of each measured loop (default: 2)
      --snapshot-size MIB  size of the database for a new replica, 160 or more (default: 256)
      --large-size MIB     size of the database for scan, VACUUM, starts and memory, 0 for none
                           (default: 1024; five times as much is needed on the disk)
      --speedtest PROGRAM  speedtest1, built from SQLite's sources; without it that is left out
      --svg FILE           draw the figures
      --directory D        where to work, on the file system to compare with (default: \(
        FileManager.default.temporaryDirectory.path))
      --passthrough MODE   "fuse.passthrough" of the nodes (default: databases)
      --markdown           print Markdown tables
    """

  init(_ arguments: [String]) throws {
    var rest = arguments[...]
    func value(of option: String) throws -> String {
      guard let value = rest.popFirst() else { throw Failure("\(option) needs a value") }
      return value
    }
    func number<Number: LosslessStringConvertible & Comparable>(
      _ option: String,
      _ range: ClosedRange<Number>
    ) throws -> Number {
      guard let number = Number(try value(of: option)), range.contains(number) else {
        throw Failure("\(option) takes \(range.lowerBound) to \(range.upperBound)")
      }
      return number
    }
    while let option = rest.popFirst() {
      switch option {
      case "--halite": halite = try value(of: option)
      case "--rounds": rounds = try number(option, 1...99)
      case "--seconds": seconds = try number(option, 0.1...60)
      // A smaller one would fit into the log, which is never cut within its last file.
      case "--snapshot-size": snapshotMiB = try number(option, 160...4096)
      case "--large-size": largeMiB = try number(option, 0...65_536)
      case "--speedtest": speedtest = try value(of: option)
      case "--svg": picture = try value(of: option)
      case "--passthrough": passthrough = try value(of: option)
      case "--directory": directory = try value(of: option)
      case "--markdown": isMarkdown = true
      default: throw Failure("unknown option \(option)\n\n\(Self.usage)")
      }
    }
    if halite.isEmpty { halite = try Self.findHalite() }
    halite = URL(fileURLWithPath: halite).path
    directory = URL(fileURLWithPath: directory).path
    guard FileManager.default.isExecutableFile(atPath: halite) else {
      throw Failure("\(halite) cannot be run; build it: swift build -c release --product halite")
    }
  }

  private static func findHalite() throws -> String {
    let candidates = [".build/release/halite", "../.build/release/halite"]
    guard let found = candidates.first(where: FileManager.default.isExecutableFile(atPath:)) else {
      throw Failure("there is no .build/release/halite; name one with --halite, or: make bench")
    }
    return found
  }
}
