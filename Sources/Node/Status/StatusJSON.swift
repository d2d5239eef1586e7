import Foundation

/// The JSON of everything this node says about itself: stable order, nothing escaped needlessly.
enum StatusJSON {
  /// A line without its end.
  static func line(_ value: some Encodable) throws -> [UInt8] {
    Array(try encoder(pretty: false).encode(value))
  }

  static func pretty(_ value: some Encodable) throws -> [UInt8] {
    Array(try encoder(pretty: true).encode(value))
  }

  private static func encoder(pretty: Bool) -> JSONEncoder {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
    return encoder
  }
}
