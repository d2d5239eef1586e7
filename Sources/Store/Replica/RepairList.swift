import LTX

/// The databases that wait for pages from the primary, remembered across restarts: their files may
/// be anything until then, and the log does not lead to their state.
enum RepairList {
  /// Stands in the list, where no database's name could, while a log that was begun anew lacks databases.
  static let reset = "/"

  private static let limit = 16 << 20

  private static func path(_ context: StoreContext) -> String {
    context.stateDirectory + "/repair"
  }

  static func load(_ context: StoreContext) throws(StoreError) -> Set<String> {
    guard let bytes = try context.disk.contents(path(context), limit: limit), bytes.count >= 8
    else { return [] }
    let body = bytes.dropLast(8)
    var crc = CRC64()
    body.withUnsafeBytes { crc.update($0) }
    let stored = bytes.withUnsafeBytes { $0.bigEndian(UInt64.self, at: bytes.count - 8) }
    guard crc.value == stored else {
      throw StoreError(
        .corrupt,
        "\(path(context)) is damaged; remove this node's data directory and let it fetch "
          + "everything from the primary"
      )
    }
    return Set(body.split(separator: 0).map { String(decoding: $0, as: UTF8.self) })
  }

  static func save(_ names: Set<String>, _ context: StoreContext) throws(StoreError) {
    var bytes: [UInt8] = []
    for name in names.sorted() {
      bytes.append(contentsOf: name.utf8)
      bytes.append(0)
    }
    var crc = CRC64()
    bytes.withUnsafeBytes { crc.update($0) }
    bytes.appendBigEndian(crc.value)
    try context.disk.replace(path(context), with: bytes, in: context.stateDirectory)
  }
}

/// A file in `quarantine/` that takes what the log no longer may hold. Nothing there is ever
/// removed by the node.
final class Quarantine {
  let path: String
  private let file: any DiskFile
  private let directory: String
  private let disk: any Disk
  private var size: Int64 = 0

  init(_ store: Store, _ name: String) throws(StoreError) {
    disk = store.context.disk
    directory = store.configuration.quarantineDirectory
    try disk.makeDirectory(directory)
    path = directory + "/\(store.context.clock.milliseconds)-" + name
    file = try disk.open(path, [.write, .create])
  }

  func append(_ bytes: [UInt8]) throws(StoreError) {
    try file.writeAll(bytes, at: size)
    size += Int64(bytes.count)
  }

  func close() throws(StoreError) {
    try file.sync()
    try disk.syncDirectory(directory)
  }
}
