/// A disk on which nothing can be changed: files open for reading, whatever is asked.
struct ReadOnlyDisk: Disk {
  let disk: any Disk

  private func refusal(_ path: String) -> StoreError {
    StoreError(.readOnly, "\(path) is only being looked at")
  }

  func open(_ path: String, _ options: DiskOpenOptions) throws(StoreError) -> any DiskFile {
    guard options.isDisjoint(with: [.create, .exclusive, .truncate]) else { throw refusal(path) }
    return try disk.open(path, [])
  }
  func rename(_ source: String, to target: String) throws(StoreError) { throw refusal(source) }
  func remove(_ path: String) throws(StoreError) { throw refusal(path) }
  func list(_ directory: String) throws(StoreError) -> [String] { try disk.list(directory) }
  func makeDirectory(_ path: String) throws(StoreError) { throw refusal(path) }
  func syncDirectory(_ path: String) throws(StoreError) { throw refusal(path) }
  func share(_ path: String, like model: String) throws(StoreError) { throw refusal(path) }
  func information(_ path: String) throws(StoreError) -> DiskFileInformation? {
    try disk.information(path)
  }
}
