/// Merges LTX files that follow each other into one: of each page the newest form.
///
/// From the LTX specification (superfly/ltx, compaction): a merge by page number of all inputs at
/// once. The result has MinTXID and PreApply of the first input, and MaxTXID, Commit, timestamp and
/// PostApply of the last; node and WAL fields are zero. A page is left out if a later input ends the
/// database before it: one that was cut off and has grown again is in a later input, since growth
/// writes every new page, and a deleted database keeps nothing.
///
/// Inputs must have one page size and must be contiguous: each begins at most one transaction after
/// the last of those before it, and ends later than they do. Where one begins right after
/// another, it must also name as its PreApply what that names as PostApply.
///
/// One page of each input is in memory. Take the output between the steps; **it is only to be used
/// once `step` has returned false**, since the inputs' checksums stand at their ends.
package struct LTXCompactor<Source: LTXByteSource> {
  /// One file of those to be merged.
  private struct Input {
    var decoder: LTXDecoder<Source>
    var page: [UInt8]
    /// Nil at the end.
    var number: PageNumber?
    /// Pages above this are cut off by a later input.
    var limit: UInt32

    mutating func advance() throws(LTXError) {
      // The buffer leaves `self` while the decoder, also part of `self`, writes into it.
      var page: [UInt8] = []
      swap(&page, &self.page)
      defer { swap(&page, &self.page) }
      number = try page.withUnsafeMutableBytes { page in
        Result { () throws(LTXError) in try decoder.next(into: page) }
      }.get()
    }
  }

  private var inputs: [Input]
  private var encoder: LTXEncoder
  private var isFinished = false

  /// The header of the result.
  package var header: LTXHeader { encoder.header }

  /// Reads the headers and first pages of all inputs.
  ///
  /// - Parameters:
  ///   - sources: oldest first, at least one.
  ///   - encoding: of the inputs; nil to find out for each.
  package init(
    _ sources: [Source],
    compression: LTXCompression,
    encoding: LTXEncoding? = nil
  ) throws(LTXError) {
    var inputs: [Input] = []
    for source in sources {
      let decoder = try LTXDecoder(source, encoding: encoding)
      let page = [UInt8](repeating: 0, count: decoder.header.pageSize.bytes)
      inputs.append(Input(decoder: decoder, page: page, limit: .max))
    }
    let header = try Self.merge(inputs.map(\.decoder.header))
    var limit = UInt32.max
    for i in inputs.indices.reversed() {
      limit = min(limit, inputs[i].decoder.header.commit)
      inputs[i].limit = limit
      try inputs[i].advance()
    }
    self.inputs = inputs
    encoder = try LTXEncoder(header: header, compression: compression)
  }

  /// Merges one page, or ends the file; false once it is ended.
  package mutating func step() throws(LTXError) -> Bool {
    if isFinished { return false }
    guard let (number, newest) = nextPage() else {
      try finish()
      isFinished = true
      return false
    }
    if number.rawValue <= inputs[newest].limit {
      try Self.append(inputs[newest], to: &encoder)
    }
    for i in inputs.indices where inputs[i].number == number { try inputs[i].advance() }
    return true
  }

  /// Hands over what has been merged so far; the next bytes continue it.
  package mutating func takeOutput() -> [UInt8] { encoder.takeOutput() }

  /// The lowest page that any input stands at, and the last input that does.
  private func nextPage() -> (PageNumber, Int)? {
    var found: (PageNumber, Int)?
    for i in inputs.indices {
      guard let number = inputs[i].number else { continue }
      if let found, found.0 < number { continue }
      found = (number, i)
    }
    return found
  }

  private static func append(_ input: Input, to encoder: inout LTXEncoder) throws(LTXError) {
    guard let digest = input.decoder.digest else { return }
    try input.page.withUnsafeBytes { bytes in
      Result { () throws(LTXError) in try encoder.append(digest, bytes) }
    }.get()
  }

  /// Ends the file. All inputs have been read and found whole.
  private mutating func finish() throws(LTXError) {
    for i in inputs.indices.dropFirst() {
      let before = inputs[i - 1].decoder
      let header = inputs[i].decoder.header
      guard before.header.hasChecksums, header.hasChecksums,
        before.header.maxTXID.next == header.minTXID, let trailer = before.trailer
      else { continue }
      guard header.preApply == trailer.postApply else {
        throw LTXError(
          .mismatch,
          "transaction \(header.minTXID) follows a database of checksum \(header.preApply), but"
            + " transaction \(before.header.maxTXID) left \(trailer.postApply)"
        )
      }
    }
    let last = inputs.last?.decoder.trailer?.postApply ?? .none
    try encoder.finish(postApply: encoder.header.hasChecksums ? last : .none)
  }

  /// The header of the result, if the inputs can be merged.
  private static func merge(_ headers: [LTXHeader]) throws(LTXError) -> LTXHeader {
    guard let first = headers.first, let last = headers.last else {
      throw LTXError(.invalid, "there is no LTX file to merge")
    }
    var previous: LTXHeader?
    for header in headers {
      guard header.pageSize == first.pageSize else {
        throw LTXError(
          .mismatch,
          "transaction \(header.minTXID) has pages of \(header.pageSize) bytes, those before it"
            + " \(first.pageSize); merge only files of one page size"
        )
      }
      if let previous {
        // The largest number has no successor, so nothing can end after it either.
        guard let next = previous.maxTXID.next, header.minTXID <= next,
          header.maxTXID > previous.maxTXID
        else {
          throw LTXError(
            .mismatch,
            "transactions \(header.minTXID) to \(header.maxTXID) do not go on from"
              + " \(previous.maxTXID); give all files in order, without a gap"
          )
        }
      }
      previous = header
    }
    let hasChecksums = headers.allSatisfy(\.hasChecksums)
    return LTXHeader(
      flags: hasChecksums ? [] : .noChecksum,
      pageSize: first.pageSize,
      commit: last.commit,
      minTXID: first.minTXID,
      maxTXID: last.maxTXID,
      timestamp: last.timestamp,
      preApply: hasChecksums ? first.preApply : .none
    )
  }
}
