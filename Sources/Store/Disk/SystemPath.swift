#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

// File names as text.
//
// To the system a name is any bytes but "/" and NUL; to us it is a String: a key of dictionaries,
// a field of the log, a word in messages. Strings fall short of names in three ways. Bytes that
// are not UTF-8 have no String. Strings are equal by canonical equivalence, so that the one
// scalar U+00E9 and the letter e followed by U+0301 are the same String, yet two files. And
// Strings are sequences of Characters, of which "/" followed by U+0301 is a single one, so that a
// search for "/" or for the suffix "-wal" would miss it.
//
// So a name is spelled with scalars that cause none of this. A scalar of a list kept below stays
// as it is. Of every other scalar beyond ASCII, and of what is not UTF-8, each byte becomes one
// scalar of a private-use area: byte b is U+10FE00 + b, so U+10FE80 through U+10FEFF. Those are
// not in the list: a name that contains one has its four bytes spelled like any others.
//
// Going back, each of the 128 scalars becomes its byte, and all else its UTF-8. That undoes the
// spelling, so two names never get the same sequence of scalars. The sequences are also never
// canonically equivalent, since all of them are in normalization form C: no scalar in use has a
// combining class or composes with the one before it, and none is replaced by normalization (UAX
// #15, "Detecting Normalization Forms"). A scalar's spelling does not depend on its neighbours,
// so that the spelling of "a/b" or "a-wal" is that of "a" followed by "/b" or "-wal".
//
// Rejected: to escape only what a String cannot hold, and to compare by UTF-8 wherever names are
// keys, since one forgotten place confuses two files; and to ask the standard library for each
// scalar's properties, since names are stored and sent to other nodes, and the answer depends on
// the version of Unicode at run time. The list is fixed for the same reason: changing it makes
// other names of the ones in existing logs.

/// Turns the bytes of names and paths into text and back; two that differ give texts that differ.
package enum SystemPath {
  /// The text of a name or a path that the system gave us.
  ///
  /// - Parameter bytes: ends with NUL.
  package static func text(_ bytes: UnsafePointer<CChar>) -> String {
    let raw = UnsafeRawBufferPointer(start: bytes, count: strlen(bytes))
    if raw.allSatisfy({ $0 < 0x80 }) { return String(decoding: raw, as: UTF8.self) }
    return spelled(raw)
  }

  /// Calls `body` with the bytes of a text, ended with NUL, for as long as it runs.
  ///
  /// The text may also be one that `text` did not make, such as a path of the configuration: it
  /// stands for its UTF-8.
  package static func withBytes<Result, Failure: Error>(
    _ text: String,
    _ body: (UnsafePointer<CChar>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    func run(_ bytes: UnsafePointer<CChar>) -> Swift.Result<Result, Failure> {
      do throws(Failure) { return .success(try body(bytes)) } catch { return .failure(error) }
    }
    guard text.utf8.contains(Escape.first) else { return try text.withCString(run).get() }
    return try unescaped(text).withUnsafeBufferPointer { bytes in
      bytes.baseAddress.map(run) ?? "".withCString(run)
    }.get()
  }

  private static func spelled(_ bytes: UnsafeRawBufferPointer) -> String {
    var output: [UInt8] = []
    output.reserveCapacity(bytes.count * 4)
    var source = bytes.makeIterator()
    var parser = UTF8.ForwardParser()
    var start = 0
    while true {
      let length: Int
      let isKept: Bool
      switch parser.parseScalar(from: &source) {
      case .emptyInput:
        return String(decoding: output, as: UTF8.self)
      case .valid(let encoded):
        length = encoded.count
        isKept = keeps(UTF8.decode(encoded))
      case .error(let count):
        length = count
        isKept = false
      }
      let part = bytes[start..<start + length]
      if isKept {
        output.append(contentsOf: part)
      } else {
        part.forEach { Escape.append($0, &output) }
      }
      start += length
    }
  }

  /// The bytes a text stands for, and NUL.
  private static func unescaped(_ text: String) -> [CChar] {
    var output: [CChar] = []
    var rest = Array(text.utf8)[...]
    output.reserveCapacity(rest.count + 1)
    while let first = rest.first {
      if let byte = Escape.byte(rest) {
        output.append(CChar(bitPattern: byte))
        rest = rest.dropFirst(Escape.length)
      } else {
        output.append(CChar(bitPattern: first))
        rest = rest.dropFirst()
      }
    }
    output.append(0)
    return output
  }

  /// The UTF-8 of U+10FE00 + b: F4 8F, then two bytes with the upper two bits of b and its others.
  private enum Escape {
    static let first: UInt8 = 0xf4
    private static let second: UInt8 = 0x8f
    private static let third: UInt8 = 0xb8
    static let length = 4

    static func append(_ byte: UInt8, _ output: inout [UInt8]) {
      output += [first, second, third | byte >> 6, 0x80 | byte & 0x3f]
    }

    /// The byte whose escape the text begins with.
    static func byte(_ text: ArraySlice<UInt8>) -> UInt8? {
      let start = text.startIndex
      guard text.count >= length, text[start] == first, text[start + 1] == second,
        text[start + 2] & 0xfe == third | 2
      else { return nil }
      return text[start + 2] << 6 | text[start + 3] & 0x3f
    }
  }

  // MARK: Scalars that stand for themselves

  /// Whether a scalar is the same in the text.
  static func keeps(_ scalar: Unicode.Scalar) -> Bool {
    scalar.isASCII || kept.contains { $0.contains(scalar.value) }
  }

  /// What people write names with, as far as it is assigned and safe as said above: no marks, no
  /// jamo that form syllables, no invisible characters, nothing that has another spelling.
  private static let kept: [ClosedRange<UInt32>] = [
    0x00a0...0x00ac, 0x00ae...0x02ff,  // Latin and phonetic letters, without the soft hyphen
    0x0386...0x0386, 0x0388...0x038a, 0x038c...0x038c, 0x038e...0x03a1, 0x03a3...0x03ff,  // Greek
    0x0400...0x0482, 0x048a...0x052f,  // Cyrillic
    0x0531...0x0556, 0x0561...0x0586,  // Armenian
    0x05d0...0x05ea,  // Hebrew
    0x0621...0x064a, 0x0660...0x066f, 0x0671...0x06d3, 0x06f0...0x06ff,  // Arabic
    0x0904...0x0939,  // Devanagari
    0x0e01...0x0e30, 0x0e3f...0x0e46, 0x0e50...0x0e59,  // Thai
    0x10d0...0x10ff,  // Georgian
    0x1e00...0x1eff,  // Latin letters with several marks, as in Vietnamese
    0x2010...0x2027, 0x2030...0x205e,  // Punctuation
    0x20a0...0x20bf,  // Currencies
    0x2100...0x2125, 0x212c...0x218b,  // Letters as symbols; not the ohm, kelvin and angstrom
    0x2190...0x2328, 0x232b...0x2426, 0x2460...0x2adb, 0x2add...0x2b73,  // Symbols
    0x3000...0x3029, 0x3030...0x303f,  // Ideographic punctuation
    0x3041...0x3096, 0x309b...0x30ff, 0x3105...0x312f, 0x3131...0x318e,  // Kana, letters
    0x3220...0x3fff, 0x4000...0xa48c,  // Ideographs, Yi
    0xac00...0xd7a3,  // Hangul syllables
    0xff01...0xff9d,  // Full-width and half-width forms
    0x1f1e6...0x1f1ff, 0x1f300...0x1f3fa, 0x1f400...0x1f6d7, 0x1f900...0x1fa53,  // Emoji
    0x20000...0x2a6dd,  // Rare ideographs
  ]
}
