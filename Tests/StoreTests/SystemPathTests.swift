import Foundation
import Testing

@testable import Store

/// Names as text and back, and that no two of them meet.
struct SystemPathTests {
  private func text(_ bytes: [UInt8]) -> String {
    (bytes + [0]).map(CChar.init(bitPattern:)).withUnsafeBufferPointer { buffer in
      buffer.baseAddress.map { SystemPath.text($0) } ?? ""
    }
  }

  private func text(_ string: String) -> String { text(Array(string.utf8)) }

  private func bytes(_ text: String) -> [UInt8] {
    SystemPath.withBytes(text) { pointer in
      UnsafeRawBufferPointer(start: pointer, count: strlen(pointer)).map { $0 }
    }
  }

  @Test(
    "ordinary names stay as they are",
    arguments: [
      "", "app.db", "a/b-wal", "\r\n", "Überweisung.db", "é", "naïve café", "Ångström", "Đà Nẵng",
      "Ελλάδα", "Москва", "שלום", "سلام", "데이터베이스", "データベース", "数据库", "𠮷", "€ 5 → 6", "😀.db", "🇩🇪",
    ]
  )
  func readable(name: String) {
    #expect(Array(text(name).utf8) == Array(name.utf8))
    #expect(bytes(text(name)) == Array(name.utf8))
  }

  @Test(
    "what Strings hold for equal are two names",
    arguments: [
      ("\u{e9}", "e\u{301}"), ("\u{c5}", "\u{212b}"), ("\u{c5}", "A\u{30a}"),
      ("\u{ac00}", "\u{1100}\u{1161}"), ("\u{ac01}", "\u{ac00}\u{11a8}"),
      ("\u{ac01}", "\u{1100}\u{1161}\u{11a8}"), ("q\u{307}\u{323}", "q\u{323}\u{307}"),
      ("\u{1ec7}", "\u{1eb9}\u{302}"), ("\u{2126}", "\u{3a9}"), ("\u{f900}", "\u{8c48}"),
      ("\u{30ac}", "\u{30ab}\u{3099}"), ("\u{958}", "\u{915}\u{93c}"),
      ("\u{16d68}", "\u{16d67}\u{16d67}"),
    ]
  )
  func equivalent(pair: (String, String)) {
    let (one, other) = pair
    #expect(text(one) != text(other))
    #expect(text(one).hashValue != text(other).hashValue)
    #expect(bytes(text(one)) == Array(one.utf8))
    #expect(bytes(text(other)) == Array(other.utf8))
  }

  @Test("bytes that are not UTF-8 become private-use scalars")
  func undecodable() {
    #expect(Array(text([0x61, 0xff, 0x62]).unicodeScalars) == ["a", "\u{10feff}", "b"])
    // Cut short, a surrogate, an overlong form, beyond Unicode, a continuation alone.
    for name: [UInt8] in [
      [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf4, 0x90, 0x80, 0x80], [0x80], [0xfe],
      [0xe2, 0x82, 0x2f, 0xac],
    ] {
      #expect(bytes(text(name)) == name)
      #expect(
        text(name).unicodeScalars.allSatisfy { $0.isASCII || (0x10fe80...0x10feff) ~= $0.value }
      )
    }
  }

  @Test("a name with our own scalars is not the one they stand for")
  func ownScalars() {
    let honest = text("\u{10feff}")
    #expect(honest != text([0xff]))
    #expect(honest.unicodeScalars.count == 4)
    #expect(bytes(honest) == Array("\u{10feff}".utf8))
    // Already text, read as a name once more.
    #expect(bytes(text(honest)) == Array(honest.utf8))
  }

  @Test("a text that is not ours stands for its UTF-8")
  func foreign() {
    #expect(bytes("/data/e\u{301}/\u{10ffff}") == Array("/data/e\u{301}/\u{10ffff}".utf8))
  }

  @Test("errors pass through")
  func errors() {
    for name in ["a", text([0xff])] {
      #expect(throws: StoreError.self) {
        try SystemPath.withBytes(name) { (_) throws(StoreError) in
          throw StoreError(.invalid, "refused")
        }
      }
    }
  }

  @Test(
    "a name's parts are found in its text",
    arguments: ["\u{301}", "\u{600}", "\u{d4e}", "\u{200d}"]
  )
  func parts(mark: String) {
    let path = text("/" + mark + "dir/" + mark + "app" + mark + "-wal")
    #expect(
      path.split(separator: "/").map(String.init) == [
        text(mark + "dir"), text(mark + "app" + mark + "-wal"),
      ]
    )
    #expect(path.hasPrefix("/" + text(mark + "dir") + "/"))
    let name = FileName(path)
    #expect(name.role == .wal)
    #expect(
      Array(name.database.utf8) == Array(text("/" + mark + "dir/" + mark + "app" + mark).utf8)
    )
  }

  @Test(
    "the scalars that stay are stable under normalization and attach to nothing",
    .timeLimit(.minutes(1))
  )
  func keptScalars() {
    var count = 0
    for value in UInt32(0x80)...0x10ffff {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let string = String(scalar)
      let decomposed = string.decomposedStringWithCanonicalMapping
      if Array(decomposed.unicodeScalars) != [scalar] {
        // Whatever composes is the tail of some decomposition.
        #expect(
          !decomposed.unicodeScalars.dropFirst().contains(where: SystemPath.keeps),
          "\(value)"
        )
        #expect(text(string) != text(decomposed), "\(value)")
      }
      guard SystemPath.keeps(scalar) else { continue }
      count += 1
      let properties = scalar.properties
      #expect(properties.canonicalCombiningClass.rawValue == 0, "\(value)")
      #expect(!properties.isFullCompositionExclusion, "\(value)")
      #expect(properties.generalCategory != .unassigned, "\(value)")
      #expect(Array(string.precomposedStringWithCanonicalMapping.unicodeScalars) == [scalar])
      // After a syllable that takes any jamo or mark, and before what only a prefix takes.
      #expect("\u{ac00}\(string)/".count == 3, "\(value)")
    }
    #expect(count > 80_000)
  }

  @Test("random names come back and differ from each other", arguments: [1, 2, 3] as [UInt64])
  func random(seed: UInt64) {
    var generator = SeededRandom(seed)
    let scalars = Array(
      "ae/-\u{e9}\u{301}\u{323}\u{c5}\u{212b}\u{1100}\u{1161}\u{11a8}\u{ac00}\u{10fec3}\u{10fea9}\u{200d}"
        .unicodeScalars
    )
    var names: Set<[UInt8]> = []
    for _ in 0..<20_000 {
      var name: [UInt8] = []
      for _ in 0..<Int.random(in: 0...5, using: &generator) {
        if Bool.random(using: &generator) {
          name.append(UInt8.random(in: 1...255, using: &generator))
        } else {
          name += Array(String(scalars.randomElement(using: &generator) ?? "a").utf8)
        }
      }
      names.insert(name)
    }
    var texts: [String: [UInt8]] = [:]
    for name in names {
      let text = text(name)
      #expect(bytes(text) == name)
      if let other = texts.updateValue(name, forKey: text) {
        Issue.record("\(other) and \(name) have one text (seed \(seed))")
      }
      #expect(self.text(name + Array("-wal".utf8)) == text + "-wal")
    }
    #expect(texts.count == names.count)
  }
}
