import Crypto
import Foundation

/// Turns tokens into what the database keeps of them.
///
/// The database holds the lower-case hexadecimal HMAC-SHA256 of a token under the server's secret. A copy of
/// the database therefore lets nobody in, and a token is found by an index and not by trying all.
package struct TokenHasher: Sendable {
  /// A shorter secret could be guessed offline from a copy of the database.
  package static let minimumSecret = 32

  private static let digits = Array("0123456789abcdef".utf8)

  /// The secret is in it already; each hash begins with a copy.
  private let keyed: HMAC<SHA256>

  /// - Parameter secret: at least `minimumSecret` bytes; the configuration has checked it.
  package init(secret: String) {
    precondition(secret.utf8.count >= Self.minimumSecret)
    keyed = HMAC(key: SymmetricKey(data: Data(secret.utf8)))
  }

  /// 64 characters.
  package func hash(_ token: String) -> String {
    var code = keyed
    code.update(data: Array(token.utf8))
    var text: [UInt8] = []
    text.reserveCapacity(64)
    for byte in code.finalize() {
      text.append(Self.digits[Int(byte >> 4)])
      text.append(Self.digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// Compares in a time that does not depend on where two hashes differ.
  package static func isSame(_ left: String, _ right: String) -> Bool {
    let (left, right) = (Array(left.utf8), Array(right.utf8))
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
  }
}
