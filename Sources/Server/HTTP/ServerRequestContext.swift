import Foundation
import Hummingbird
import NIOCore

/// What is known of a request beside itself.
struct ServerRequestContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  let requestID = Self.newID()
  /// Of the connection: a client's or a balancer's.
  let address: String?

  init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    address = source.channel.remoteAddress?.ipAddress
  }

  /// A random UUID (RFC 9562, version 4). Foundation's own opens a file for each.
  private static func newID() -> String {
    var generator = SystemRandomNumberGenerator()
    let (high, low) = (generator.next(), generator.next())
    func byte(_ number: UInt64, _ place: UInt64) -> UInt8 {
      UInt8(truncatingIfNeeded: number >> (56 - 8 * place))
    }
    return UUID(
      uuid: (
        byte(high, 0), byte(high, 1), byte(high, 2), byte(high, 3), byte(high, 4), byte(high, 5),
        byte(high, 6) & 0x0f | 0x40, byte(high, 7), byte(low, 0) & 0x3f | 0x80, byte(low, 1),
        byte(low, 2), byte(low, 3), byte(low, 4), byte(low, 5), byte(low, 6), byte(low, 7)
      )
    ).uuidString.lowercased()
  }
}
