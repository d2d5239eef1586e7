/// What a file holds and whether it is whole, in words or as JSON, for `halite ltx`.
///
/// Files may be large, so the report is written piece by piece. Damage is part of the report: what
/// could be read before it is told, then what is wrong and where.
package enum LTXReport {
  package enum Form: Sendable { case text, json }

  /// Tells header, every page and the trailer; true when the file is whole.
  package static func dump(
    _ source: some LTXByteSource,
    name: String,
    form: Form,
    write: (String) -> Void
  ) -> Bool {
    switch form {
    case .text: dumpText(source, name, write)
    case .json: dumpJSON(source, name, write)
    }
  }

  /// Tells in one line whether the file is whole and bears the right name; true when so.
  package static func verify(
    _ source: some LTXByteSource,
    name: String,
    form: Form,
    write: (String) -> Void
  ) -> Bool {
    var header: LTXHeader?
    var pages: UInt32 = 0
    do {
      var decoder = try LTXDecoder(source)
      header = decoder.header
      try checkName(name, decoder.header)
      try forEachPage(&decoder) { _, _ in pages += 1 }
    } catch {
      switch form {
      case .text:
        let place = error.code == .unreadable ? "" : " after \(count(pages))"
        write("\(name): \(state(error))\(place): \(error)\n")
      case .json: write("{\(member("name", name)),\(failure(error))}\n")
      }
      return false
    }
    guard let header else { return false }
    switch form {
    case .text:
      write(
        "\(name): ok, transactions \(header.minTXID) to \(header.maxTXID), \(count(pages))\n"
      )
    case .json:
      write(
        "{\(member("name", name)),\(member("min_txid", header.minTXID)),"
          + "\(member("max_txid", header.maxTXID)),\"pages\":\(pages),\"ok\":true}\n"
      )
    }
    return true
  }

  /// Reads to the verified end. The second argument of `body` is where the page is stored.
  private static func forEachPage<Source>(
    _ decoder: inout LTXDecoder<Source>,
    _ body: (PageDigest, (offset: UInt64, size: Int)?) -> Void
  ) throws(LTXError) {
    var page = [UInt8](repeating: 0, count: decoder.header.pageSize.bytes)
    while true {
      let number = try page.withUnsafeMutableBytes { page in
        Result { () throws(LTXError) in try decoder.next(into: page) }
      }.get()
      guard number != nil else { return }
      if let digest = decoder.digest { body(digest, decoder.stored) }
    }
  }

  /// A file that bears the name of other transactions would be applied in the wrong place.
  private static func checkName(_ name: String, _ header: LTXHeader) throws(LTXError) {
    guard let named = LTXFileName(lastComponent(of: name)) else { return }
    let held = LTXFileName(minTXID: header.minTXID, maxTXID: header.maxTXID)
    guard named == held else {
      throw LTXError(.mismatch, "the header says that the file's name should be \(held)")
    }
  }

  /// Whether the file is at fault, or whoever was to deliver it.
  private static func state(_ error: LTXError) -> String {
    error.code == .unreadable ? "unreadable" : "damaged"
  }

  private static func lastComponent(of path: String) -> String {
    String(path.split(separator: "/").last ?? "")
  }

  private static func count(_ pages: UInt32) -> String {
    pages == 1 ? "1 page" : "\(pages) pages"
  }
}

// In words.
extension LTXReport {
  private static func dumpText(
    _ source: some LTXByteSource,
    _ name: String,
    _ write: (String) -> Void
  ) -> Bool {
    write("\(name)\n")
    do {
      var decoder = try LTXDecoder(source)
      writeHeader(decoder.header, decoder.encoding, write)
      write("\n\(column("page", 10))  \(column("offset", 12))  \(column("bytes", 6))  checksum\n")
      try forEachPage(&decoder) { digest, stored in
        let offset = stored.map { "\($0.offset)" } ?? "-"
        let size = stored.map { "\($0.size)" } ?? "-"
        write(
          "\(column("\(digest.number)", 10))  \(column(offset, 12))  \(column(size, 6))"
            + "  \(digest.checksum)\n"
        )
      }
      write("\n")
      if let trailer = decoder.trailer {
        line("post-apply", sum(trailer.postApply), write)
        line("file checksum", "\(trailer.file)", write)
      }
      line("state", "ok, \(count(decoder.pageCount))", write)
      return true
    } catch {
      line("state", "\(state(error)): \(error)", write)
      return false
    }
  }

  private static func writeHeader(
    _ header: LTXHeader,
    _ encoding: LTXEncoding,
    _ write: (String) -> Void
  ) {
    var flags: [String] = []
    if header.flags.contains(.compressedBody) { flags.append("compressed body") }
    if header.flags.contains(.noChecksum) { flags.append("no checksums") }
    let kind = header.commit == 0 ? " (deletion)" : header.isSnapshot ? " (snapshot)" : ""
    line("encoding", "\(encoding)", write)
    line("flags", flags.isEmpty ? "none" : flags.joined(separator: ", "), write)
    line("page size", "\(header.pageSize)", write)
    line("commit", count(header.commit), write)
    line("transactions", "\(header.minTXID) to \(header.maxTXID)\(kind)", write)
    line("time", "\(header.timestamp) (\(utc(milliseconds: header.timestamp)))", write)
    line("pre-apply", sum(header.preApply), write)
    if header.walOffset != 0 {
      line(
        "WAL",
        "offset \(header.walOffset), size \(header.walSize),"
          + " salts \(header.walSalt1) \(header.walSalt2)",
        write
      )
    }
    if header.nodeID != 0 { line("node", hexadecimal(header.nodeID), write) }
  }

  private static func line(_ label: String, _ value: String, _ write: (String) -> Void) {
    write(label + String(repeating: " ", count: max(0, 15 - label.utf8.count)) + value + "\n")
  }

  private static func column(_ value: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - value.utf8.count)) + value
  }

  private static func sum(_ checksum: Checksum) -> String {
    checksum == .none ? "none" : "\(checksum)"
  }
}

// As JSON.
extension LTXReport {
  private static func dumpJSON(
    _ source: some LTXByteSource,
    _ name: String,
    _ write: (String) -> Void
  ) -> Bool {
    write("{\(member("name", name))")
    var isOpen = false
    do {
      var decoder = try LTXDecoder(source)
      let header = decoder.header
      write(
        ",\(member("encoding", decoder.encoding)),\"flags\":\(header.flags.rawValue)"
          + ",\"page_size\":\(header.pageSize),\"commit\":\(header.commit)"
          + ",\(member("min_txid", header.minTXID)),\(member("max_txid", header.maxTXID))"
          + ",\"timestamp_ms\":\(header.timestamp)"
          + ",\(member("pre_apply_checksum", header.preApply))"
          + ",\"wal_offset\":\(header.walOffset),\"wal_size\":\(header.walSize)"
          + ",\"wal_salt1\":\(header.walSalt1),\"wal_salt2\":\(header.walSalt2)"
          + ",\(member("node_id", hexadecimal(header.nodeID))),\"pages\":["
      )
      isOpen = true
      var separator = ""
      try forEachPage(&decoder) { digest, stored in
        let place = stored.map { ",\"offset\":\($0.offset),\"size\":\($0.size)" } ?? ""
        write(
          "\(separator){\"pgno\":\(digest.number)\(place)"
            + ",\(member("checksum", digest.checksum))}"
        )
        separator = ","
      }
      isOpen = false
      write("]")
      if let trailer = decoder.trailer {
        write(",\(member("post_apply_checksum", trailer.postApply))")
        write(",\(member("file_checksum", trailer.file))")
      }
      write(",\"ok\":true}\n")
      return true
    } catch {
      write("\(isOpen ? "]" : ""),\(failure(error))}\n")
      return false
    }
  }

  private static func failure(_ error: LTXError) -> String {
    "\"ok\":false,\(member("error", error))"
  }

  /// A member whose value is text.
  private static func member(_ key: String, _ value: some CustomStringConvertible) -> String {
    "\"\(key)\":\(jsonString(value.description))"
  }

  private static func member(_ key: String, _ value: LTXEncoding) -> String {
    "\"\(key)\":\"\(value)\""
  }

  /// Text in quotation marks, as RFC 8259 wants it.
  static func jsonString(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
