import Foundation

/// A secret that lets a node or a cluster in.
package enum Token {
  private static let bytes = 32
  /// Shorter ones are refused unseen; those that are made here have 44 characters.
  static let minimumLength = 41
  /// Nothing longer is hashed.
  static let maximumLength = 256

  /// 32 random bytes from the system's source in URL-safe base64.
  package static func make() -> String {
    var generator = SystemRandomNumberGenerator()
    var data = Data(capacity: bytes)
    for _ in 0..<bytes { data.append(UInt8.random(in: .min ... .max, using: &generator)) }
    return data.base64EncodedString()
      .replacingOccurrences(of: "+", with: "-")
      .replacingOccurrences(of: "/", with: "_")
  }

  static func isPossible(_ text: String) -> Bool {
    (minimumLength...maximumLength).contains(text.utf8.count)
  }
}
