/// The number of a page in a database; the first page is 1.
package struct PageNumber: RawRepresentable, Hashable, Comparable, Sendable {
  package let rawValue: UInt32

  package init(rawValue: UInt32) { self.rawValue = rawValue }
  package init(_ value: UInt32) { self.rawValue = value }

  /// Where the page begins in the database file, in bytes.
  ///
  /// - Precondition: the number is not zero.
  package func offset(_ size: PageSize) -> Int64 {
    precondition(rawValue > 0, "page numbers start at 1")
    return Int64(rawValue - 1) * Int64(size.bytes)
  }

  package static func < (a: PageNumber, b: PageNumber) -> Bool { a.rawValue < b.rawValue }
}

extension PageNumber: CustomStringConvertible {
  package var description: String { String(rawValue) }
}
