import Foundation

@testable import Store

extension CrashState {
  /// How much of what was on its way to one file a crash lets arrive.
  private enum Fate: CaseIterable {
    case everything, nothing, prefix, someWrites, someSectors
  }

  /// One of the disks that a crash now can leave.
  func image(_ random: inout SeededRandom) throws -> TestDirectory {
    let directory = try TestDirectory("crash")
    for name in directories.sorted() {
      try FileManager.default.createDirectory(
        atPath: directory.path + "/" + name,
        withIntermediateDirectories: true
      )
    }
    // Now and then all files share one fate.
    let common = random.below(3) == 0 ? Fate.allCases[random.below(Fate.allCases.count)] : nil
    for (name, number) in survivingNames(common, &random).sorted(by: { $0.key < $1.key }) {
      guard let file = files[number] else { continue }
      let fate = common ?? Fate.allCases[random.below(Fate.allCases.count)]
      let path = directory.path + "/" + name
      try write(Self.survivor(of: file, fate, &random), toFile: path)
      // A wal-index may have any content, and may be missing.
      if name.hasSuffix("-wal"), random.below(3) == 0 {
        try write(random.bytes(random.below(2) * 200), toFile: path.dropLast(4) + "-shm")
      }
    }
    return directory
  }

  /// The names that a crash leaves.
  private func survivingNames(
    _ common: Fate?,
    _ random: inout SeededRandom
  ) -> [String: Int] {
    var names = names
    if common == .nothing { return names }
    var ends: [String: Int] = [:]
    let all = random.below(renaming.count + 1)
    let isOneJournal = random.below(2) == 0
    for directory in Set(renaming.flatMap(\.directories)).sorted() {
      ends[directory] = isOneJournal ? all : random.below(renaming.count + 1)
      if common == .everything { ends[directory] = renaming.count }
    }
    for (number, change) in renaming.enumerated() {
      if change.directories.allSatisfy({ number < (ends[$0] ?? 0) }) {
        Self.apply(change, to: &names)
      } else {
        // What comes after it in either directory has not arrived either.
        for directory in change.directories { ends[directory] = min(ends[directory] ?? 0, number) }
      }
    }
    return names
  }

  private static func survivor(
    of file: File,
    _ fate: Fate,
    _ random: inout SeededRandom
  ) -> [UInt8] {
    var bytes = file.durable
    let end = random.below(file.pending.count + 1)
    let chance = 1 + random.below(9)
    // A size that did not arrive: nothing that came to lie behind it afterwards has arrived.
    var limit = Int.max
    for (number, change) in file.pending.enumerated() {
      switch change {
      case .truncate(let size):
        let arrives =
          limit == .max
          && (fate == .everything || (fate == .prefix && number < end)
            || (fate != .nothing && fate != .prefix && random.below(10) < chance))
        if arrives { resize(&bytes, to: size) } else { limit = min(limit, size) }
      case .write(let offset, let content):
        let content = content.prefix(max(0, min(content.count, limit - offset)))
        guard !content.isEmpty else { continue }
        switch fate {
        case .everything: put(content, at: offset, into: &bytes)
        case .prefix:
          if number < end { put(content, at: offset, into: &bytes) }
          if number == end { tear(content, at: offset, 5, into: &bytes, &random) }
        case .someWrites:
          if random.below(10) < chance { put(content, at: offset, into: &bytes) }
        case .someSectors: tear(content, at: offset, chance, into: &bytes, &random)
        case .nothing: break
        }
        // The size may arrive without the bytes.
        if fate != .nothing, random.below(6) == 0, bytes.count < offset + content.count {
          resize(&bytes, to: offset + content.count)
        }
      }
    }
    return bytes
  }

  /// Writes some of the sectors.
  private static func tear(
    _ content: ArraySlice<UInt8>,
    at offset: Int,
    _ chance: Int,
    into bytes: inout [UInt8],
    _ random: inout SeededRandom
  ) {
    var at = offset
    while at < offset + content.count {
      let next = min((at / sector + 1) * sector, offset + content.count)
      if random.below(10) < chance {
        let start = content.startIndex + at - offset
        put(content[start..<(start + next - at)], at: at, into: &bytes)
      }
      at = next
    }
  }
}
