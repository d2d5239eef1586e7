/// The fencing token: the number of a period with at most one primary. It only grows.
///
/// Whoever stores something under a lease stores the term beside it and refuses a lower one; a
/// holder that woke up late can then do no harm (Ongaro's dissertation, section 3.3).
package struct LeaseTerm: RawRepresentable, Hashable, Comparable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }
  package init(_ value: UInt64) { self.rawValue = value }

  package static let zero = LeaseTerm(0)
  package static func < (a: LeaseTerm, b: LeaseTerm) -> Bool { a.rawValue < b.rawValue }
}

extension LeaseTerm: CustomStringConvertible {
  package var description: String { String(rawValue) }
}
