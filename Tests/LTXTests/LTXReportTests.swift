import Foundation
import Testing

@testable import LTX

@Suite struct LTXReportTests {
  private func dump(_ bytes: [UInt8], _ form: LTXReport.Form) -> (isWhole: Bool, text: String) {
    var text = ""
    let isWhole = LTXReport.dump(LTXBytes(bytes), name: "a \"b\"", form: form) { text += $0 }
    return (isWhole, text)
  }

  private func json(_ text: String) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
  }

  @Test(arguments: Fixture.all)
  func dumpTellsAllTheManifestDoes(fixture: Fixture) throws {
    let (isWhole, text) = try dump(fixture.contents(), .json)
    #expect(isWhole)
    let object = try json(text)
    #expect(object["name"] as? String == "a \"b\"")
    #expect(object["ok"] as? Bool == true)
    #expect(object["encoding"] as? String == "\(fixture.encoding)")
    #expect(object["flags"] as? UInt32 == fixture.flags)
    #expect(object["page_size"] as? Int == fixture.page_size)
    #expect(object["commit"] as? UInt32 == fixture.commit)
    #expect(object["min_txid"] as? String == TXID(fixture.min_txid).description)
    #expect(object["timestamp_ms"] as? Int64 == fixture.timestamp_ms)
    #expect(object["pre_apply_checksum"] as? String == fixture.pre_apply_checksum)
    #expect(object["post_apply_checksum"] as? String == fixture.post_apply_checksum)
    #expect(object["file_checksum"] as? String == fixture.file_checksum)
    #expect(object["wal_salt2"] as? UInt32 == fixture.wal_salt2)
    let pages = try #require(object["pages"] as? [[String: Any]])
    #expect(pages.map { $0["pgno"] as? UInt32 } == fixture.pageList.map(\.pgno))
    #expect(pages.map { $0["checksum"] as? String } == fixture.pageList.map(\.page_checksum))

    let (_, words) = try dump(fixture.contents(), .text)
    for checksum in fixture.pageList.map(\.page_checksum) + [fixture.file_checksum] {
      #expect(words.contains(checksum))
    }
  }

  @Test(arguments: Fixture.all)
  func damageIsPartOfTheReport(fixture: Fixture) throws {
    let contents = try fixture.contents()
    for length in [0, 99, 100, 110, contents.count / 2, contents.count - 1] {
      let part = Array(contents.prefix(length))
      #expect(dump(part, .text).isWhole == false)
      let (isWhole, text) = dump(part, .json)
      #expect(!isWhole)
      let object = try json(text)
      #expect(object["ok"] as? Bool == false)
      #expect((object["error"] as? String)?.isEmpty == false)
    }
  }

  @Test func verifyNamesFileAndPlace() throws {
    let fixture = try #require(Fixture.all.last)
    let contents = try fixture.contents()
    func verify(_ bytes: [UInt8], name: String, _ form: LTXReport.Form = .text) -> String {
      var text = ""
      let isWhole = LTXReport.verify(LTXBytes(bytes), name: name, form: form) { text += $0 }
      #expect(isWhole == text.contains(form == .text ? ": ok" : "\"ok\":true"))
      return text
    }
    let name = "x/0000000000000002-0000000000000002.ltx"
    let whole = verify(contents, name: name)
    #expect(
      whole == name + ": ok, transactions 0000000000000002 to 0000000000000002, 1 page\n"
    )
    #expect(try json(verify(contents, name: name, .json))["pages"] as? Int == 1)

    let other = verify(contents, name: "x/0000000000000003-0000000000000003.ltx")
    #expect(other.contains("0000000000000002-0000000000000002.ltx"))
    let cut = verify(contents.dropLast(), name: "cut")
    #expect(cut.hasPrefix("cut: damaged after 1 page: ") && cut.contains("trailer"))
    #expect(try json(verify(contents.dropLast(), name: "cut", .json))["ok"] as? Bool == false)
  }

  @Test func textInJSON() {
    #expect(LTXReport.jsonString("a\"\\\n\u{1}é") == "\"a\\\"\\\\\\n\\u0001é\"")
  }

  @Test func timesAreUTC() {
    #expect(utc(milliseconds: 0) == "1970-01-01T00:00:00.000Z")
    #expect(utc(milliseconds: -1) == "1969-12-31T23:59:59.999Z")
    #expect(utc(milliseconds: 951_782_400_000) == "2000-02-29T00:00:00.000Z")
    #expect(utc(milliseconds: 1_760_000_001_000) == "2025-10-09T08:53:21.000Z")
    // Any value a file may hold has some form.
    #expect(utc(milliseconds: .max).hasSuffix("Z") && utc(milliseconds: .min).hasSuffix("Z"))
  }
}

@Suite struct LTXBenchmarkTests {
  /// The figures themselves are for release builds; here they only have to come about.
  @Test(.timeLimit(.minutes(1))) func figuresAreMeasured() throws {
    let figures = try LTXBenchmarks.run(rounds: 50)
    #expect(figures.count == 5)
    #expect(figures.allSatisfy { $0.rate > 0 && $0.throughput > $0.rate })
  }
}
