import LTX

/// The transaction file: from a peer, a backup or the command line.
enum LTXTargets {
  /// Bytes at a time, so that every structure is also met in pieces.
  private struct Trickle: LTXByteSource {
    var rest: ArraySlice<UInt8>
    var step: Int

    mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
      let part = rest.prefix(min(step, buffer.count))
      buffer.copyBytes(from: part)
      rest = rest.dropFirst(part.count)
      return part.count
    }
  }

  static let file = FuzzTarget("ltx", maxBytes: 16_384, seeds: LTXSeeds.files) { bytes in
    let whole = decode(LTXBytes(bytes), nil)
    // Revisions that are named, and arrival in pieces, must not change what is found.
    let pieces = decode(Trickle(rest: bytes[...], step: 1 + bytes.count % 97), nil)
    try FuzzFinding.check(
      whole == pieces,
      "in pieces a file reads as \(String(describing: pieces)), not \(String(describing: whole))"
    )
    for encoding in [LTXEncoding.v1, .v3] { _ = decode(LTXBytes(bytes), encoding) }
    var length = 0
    for form in [LTXReport.Form.text, .json] {
      let isDumped = LTXReport.dump(LTXBytes(bytes), name: "x", form: form) {
        length += $0.utf8.count
      }
      let isVerified = LTXReport.verify(LTXBytes(bytes), name: "x", form: form) {
        length += $0.utf8.count
      }
      try FuzzFinding.check(
        isDumped == (whole != nil) && isVerified == isDumped,
        "a report contradicts the decoder"
      )
    }
    // A page takes at least 8 bytes of a file and at most some 150 of a report.
    try FuzzFinding.check(length <= 8192 + 100 * bytes.count, "reports of \(length) bytes")
    try reencode(bytes, isWhole: whole != nil)
  }

  private struct Found: Equatable {
    var pages: UInt32
    var trailer: Checksum
  }

  private static func decode(_ source: some LTXByteSource, _ encoding: LTXEncoding?) -> Found? {
    do throws(LTXError) {
      var decoder = try LTXDecoder(source, encoding: encoding)
      var page = [UInt8](repeating: 0, count: decoder.header.pageSize.bytes)
      while true {
        let number = try page.withUnsafeMutableBytes { page in
          Result { () throws(LTXError) in try decoder.next(into: page) }
        }.get()
        if number == nil { break }
      }
      return Found(pages: decoder.pageCount, trailer: decoder.trailer?.file ?? .none)
    } catch { return nil }
  }

  /// What the decoder accepts, the compactor must be able to write, and the decoder read again.
  private static func reencode(_ bytes: [UInt8], isWhole: Bool) throws {
    guard let merged = try merge([bytes]) else { return }
    try FuzzFinding.check(isWhole, "the compactor takes a file that the decoder refuses")
    guard decode(LTXBytes(merged), .v3) != nil else {
      throw FuzzFinding("what the compactor wrote cannot be read")
    }
  }

  /// Nil where the files cannot be merged.
  private static func merge(_ files: [[UInt8]]) throws -> [UInt8]? {
    do throws(LTXError) {
      var compactor = try LTXCompactor(files.map { LTXBytes($0) }, compression: .fast)
      while try compactor.step() {}
      return compactor.takeOutput()
    } catch { return nil }
  }

  static let compaction = FuzzTarget(
    "ltx-compaction",
    maxBytes: 16_384,
    seeds: {
      let history = try LTXSeeds.history()
      return [
        FuzzInput.blocks(history), FuzzInput.blocks(Array(history.prefix(2))),
        FuzzInput.blocks(Array(history.dropFirst())),
      ]
    }
  ) { bytes in
    var input = FuzzInput(bytes)
    var files: [[UInt8]] = []
    while !input.isEmpty, files.count < 5 { files.append(input.block()) }
    guard let merged = try merge(files) else { return }
    try FuzzFinding.check(
      decode(LTXBytes(merged), .v3) != nil,
      "what the compactor wrote cannot be read"
    )
  }
}
