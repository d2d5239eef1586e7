/// Finds what somebody probably meant.
enum NearestName {
  /// The candidate closest to a name, or nil when none is close enough to be meant.
  static func find(_ name: String, among candidates: [String]) -> String? {
    let limit = max(1, min(3, name.count / 2))
    return
      candidates
      .map { (distance(name.lowercased(), $0.lowercased()), $0) }
      .filter { $0.0 <= limit }
      .min { $0.0 < $1.0 }?.1
  }

  /// Levenshtein's edit distance, over texts cut to a length where cost does not matter.
  private static func distance(_ a: String, _ b: String) -> Int {
    let first = Array(a.prefix(64))
    let second = Array(b.prefix(64))
    var row = Array(0...second.count)
    for (i, x) in first.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, y) in second.enumerated() {
        let above = row[j + 1]
        row[j + 1] = x == y ? diagonal : 1 + min(diagonal, above, row[j])
        diagonal = above
      }
    }
    return row[second.count]
  }
}
