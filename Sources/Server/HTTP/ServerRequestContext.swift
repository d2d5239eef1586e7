import Foundation
import Hummingbird
import NIOCore

/// What is known of a request beside itself.
struct ServerRequestContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  let requestID = UUID().uuidString.lowercased()
  /// Of the connection: a client's or a balancer's.
  let address: String?

  init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    address = source.channel.remoteAddress?.ipAddress
  }
}
