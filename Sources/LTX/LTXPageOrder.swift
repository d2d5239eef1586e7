/// The rule for page numbers in a file, the same for writer and reader.
///
/// A snapshot holds every page from 1 to Commit; any other file holds some of them, ascending. The
/// page with SQLite's lock bytes is in neither.
struct LTXPageOrder: Sendable {
  private let isSnapshot: Bool
  private let commit: UInt32
  private let lockPage: PageNumber
  private(set) var last = PageNumber(0)

  init(_ header: LTXHeader) {
    isSnapshot = header.isSnapshot
    commit = header.commit
    lockPage = header.pageSize.lockPage
  }

  /// What a snapshot must go on with; nil when all pages are there.
  private var next: PageNumber? {
    guard last.rawValue < commit else { return nil }
    let number = PageNumber(last.rawValue + 1)
    guard number == lockPage else { return number }
    return number.rawValue < commit ? PageNumber(number.rawValue + 1) : nil
  }

  /// What speaks against `number` as the next page, or nil.
  func objection(to number: PageNumber) -> String? {
    if number.rawValue == 0 { return "page numbers start at 1" }
    if number == lockPage { return "page \(number) holds SQLite's lock bytes and is never stored" }
    if number.rawValue > commit {
      return "page \(number) is beyond the end of the database, which has \(commit) pages"
    }
    if number <= last { return "page \(number) comes after page \(last), pages must ascend" }
    if isSnapshot, number != next {
      return "page \(number) follows page \(last), a snapshot must hold every page"
    }
    return nil
  }

  /// What speaks against ending here, or nil.
  var objectionToEnd: String? {
    guard isSnapshot, let next else { return nil }
    return "the snapshot ends before page \(next) of \(commit)"
  }

  mutating func advance(to number: PageNumber) { last = number }
}
