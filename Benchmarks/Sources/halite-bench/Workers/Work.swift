import Foundation

/// What a child process of a run does: one job on files, its result as a line of JSON.
enum Work {
  static func run(_ arguments: [String]) throws {
    guard let job = arguments.first else { throw Failure("no job") }
    let values = Array(arguments.dropFirst())
    func text(_ index: Int) throws -> String {
      guard index < values.count else { throw Failure("\(job): too few arguments") }
      return values[index]
    }
    func number(_ index: Int) throws -> Double {
      guard let number = Double(try text(index)) else { throw Failure("\(job): not a number") }
      return number
    }
    switch job {
    case "create": try Databases.create(text(0), journal: text(1), rows: Int(number(2)))
    case "fill": try Databases.fill(text(0), megabytes: Int(number(1)))
    case "copy": try answer(Databases.copy(text(0), to: text(1)))
    case "commits": try answer(Loops.commits(text(0), setting: text(1), seconds: number(2)))
    case "selects": try answer(Loops.selects(text(0), seconds: number(1)))
    case "mixed": try answer(Loops.mixed(text(0), seconds: number(1)))
    case "bulk": try answer(LongJobs.bulk(text(0), rows: Int(number(1))))
    case "scan": try answer(LongJobs.scan(text(0)))
    case "vacuum": try answer(LongJobs.vacuum(text(0)))
    case "lag":
      try answer(
        Lag(
          primary: text(0),
          replica: text(1),
          count: Int(number(2)),
          nanosecondsApart: Int64(number(3))
        ).measure()
      )
    case "follow": try answer(Following.run(primary: text(0), replica: text(1)))
    default: throw Failure("unknown job \(job)")
    }
  }

  private static func answer(_ value: some Encodable) throws {
    FileHandle.standardOutput.write(try JSONEncoder().encode(value))
  }
}
