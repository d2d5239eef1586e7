import LTX
import Logging

/// Compares everything that a stopped node has on its disk: records, log, and every page of every
/// database.
///
/// Nothing is changed: no torn end is cut, no journal played back. What the next start would do is taken
/// into account instead.
package struct StoreVerification {
  /// Bytes done of those there are to read.
  package typealias Progress = (_ done: Int64, _ total: Int64) -> Void

  let configuration: StoreConfiguration
  let disk: any Disk
  private let progress: Progress
  private var total: Int64 = 0
  private var done: Int64 = 0

  private(set) var findings: [VerificationFinding] = []
  /// What the log says of each database, by the name that it has at the end.
  var histories: [String: LoggedHistory] = [:]

  package init(
    _ configuration: StoreConfiguration,
    disk: any Disk,
    progress: @escaping Progress = { _, _ in }
  ) {
    self.configuration = configuration
    self.disk = ReadOnlyDisk(disk: disk)
    self.progress = progress
  }

  /// Looks at everything. Blocks for as long as reading it takes.
  package mutating func run() throws(StoreError) -> [VerificationFinding] {
    guard try disk.information(configuration.stateDirectory) != nil else {
      return [
        VerificationFinding(
          "data",
          .notable,
          "\(configuration.directory) holds nothing of a node yet",
          remedy: "look at the data directory of a node that has run: --data or data.dir"
        )
      ]
    }
    let records = try readRecords()
    let repairs = readRepairs()
    total = try logBytes() + records.reduce(0) { $0 + Int64($1.pages) * Int64($1.pageSize) }
    try verifyLog(records)
    for record in records.sorted(by: { $0.name < $1.name }) {
      if repairs.contains(record.name) {
        note(
          "database \(record.name)",
          .notable,
          "waits for its pages from the primary",
          remedy: "start the node with its primary within reach"
        )
      } else {
        try verifyDatabase(record)
      }
    }
    return findings
  }

  mutating func note(
    _ subject: String,
    _ level: VerificationFinding.Level,
    _ value: String,
    remedy: String? = nil
  ) {
    findings.append(VerificationFinding(subject, level, value, remedy: remedy))
  }

  /// Tells how far it is.
  mutating func advance(_ bytes: Int64) {
    done += bytes
    progress(min(done, total), total)
  }

  // MARK: Records

  private mutating func readRecords() throws(StoreError) -> [DatabaseRecord] {
    let directory = configuration.stateDirectory
    var records: [DatabaseRecord] = []
    var damaged = false
    for file in try disk.list(directory) where file.hasSuffix(".db") {
      let path = directory + "/" + file
      if let bytes = try? disk.contents(path, limit: 16 << 10), let record = DatabaseRecord(bytes),
        PageSize(bytes: Int(record.pageSize)) != nil
      {
        records.append(record)
      } else {
        damaged = true
        note(
          "state",
          .damaged,
          "\(path) is not a record of a database",
          remedy: VerificationFinding.Remedy.fetch
        )
      }
    }
    let redo = directory + "/redo"
    if let bytes = try disk.contents(redo, limit: 1 << 10),
      !Self.isSealed(bytes, count: RedoPoint.bytes)
    {
      damaged = true
      note(
        "state",
        .notable,
        "\(redo) is damaged",
        remedy: "start the node: it reads the whole log instead and writes the file anew"
      )
    }
    if !damaged { note("state", .sound, "\(records.count) records") }
    return records
  }

  private mutating func readRepairs() -> Set<String> {
    let path = configuration.stateDirectory + "/repair"
    guard let bytes = try? disk.contents(path, limit: 16 << 20) else { return [] }
    guard Self.isSealed(bytes) else {
      note(
        "state",
        .damaged,
        "\(path), the list of databases that wait for pages, is damaged",
        remedy: VerificationFinding.Remedy.fetch
      )
      return []
    }
    return Set(bytes.dropLast(8).split(separator: 0).map { String(decoding: $0, as: UTF8.self) })
  }

  /// Whether the last eight bytes are the checksum of the others.
  private static func isSealed(_ bytes: [UInt8], count: Int? = nil) -> Bool {
    guard bytes.count >= 8, count == nil || bytes.count == count else { return false }
    return bytes.withUnsafeBytes { raw in
      var crc = CRC64()
      crc.update(UnsafeRawBufferPointer(rebasing: raw.dropLast(8)))
      return crc.value == raw.bigEndian(UInt64.self, at: raw.count - 8)
    }
  }

  private func logBytes() throws(StoreError) -> Int64 {
    guard try disk.information(configuration.logDirectory) != nil else { return 0 }
    var bytes: Int64 = 0
    for file in try disk.list(configuration.logDirectory)
    where Segment.firstIndex(ofName: file) != nil {
      bytes += try disk.information(configuration.logDirectory + "/" + file)?.size ?? 0
    }
    return bytes
  }
}
