/// How the encoder stores pages.
package enum LTXCompression: Hashable, Sendable {
  /// LZ4 at its fastest level.
  case fast
  /// An LZ4 block of literals only: any reader of the format takes it, and writing it is a copy.
  case none
}
