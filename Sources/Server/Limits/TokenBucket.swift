/// A token bucket: `rate` requests a second, `burst` at once.
package struct TokenBucket: Sendable {
  private var tokens: Double
  private var filled: Double

  init(_ limit: RateLimit, now: Double) {
    tokens = limit.burst
    filled = now
  }

  /// - Parameter now: seconds on a clock that only goes forward.
  /// - Returns: nil when there was a token, else the seconds until there is one.
  mutating func take(_ limit: RateLimit, now: Double) -> Double? {
    refill(limit, now: now)
    if tokens >= 1 {
      tokens -= 1
      return nil
    }
    return (1 - tokens) / limit.rate
  }

  /// Whether it is as good as a new one.
  mutating func isFull(_ limit: RateLimit, now: Double) -> Bool {
    refill(limit, now: now)
    return tokens >= limit.burst
  }

  private mutating func refill(_ limit: RateLimit, now: Double) {
    tokens = min(limit.burst, tokens + max(0, now - filled) * limit.rate)
    filled = max(filled, now)
  }
}

/// Requests a second, and how many may come at once; both positive.
package struct RateLimit: Sendable, Equatable {
  package var rate: Double
  package var burst: Double
}

/// The limits of a server; nil for none.
package struct RateLimits: Sendable, Equatable {
  package enum Kind: String, Sendable, CaseIterable {
    /// Of all requests from one address.
    case ip
    /// Of one node to these endpoints.
    case nodes, config, routes
    /// Of one cluster.
    case topology
  }

  private var limits: [Kind: RateLimit] = [:]

  package static let defaults: [Kind: RateLimit] = [
    .ip: RateLimit(rate: 100, burst: 200), .nodes: RateLimit(rate: 50, burst: 100),
    .config: RateLimit(rate: 10, burst: 20), .routes: RateLimit(rate: 20, burst: 40),
    .topology: RateLimit(rate: 100, burst: 200),
  ]

  static let names = Kind.allCases.map(name)

  private static func name(_ kind: Kind) -> String {
    "NEBULAGC_RATELIMIT_\(kind.rawValue.uppercased())"
  }

  package subscript(kind: Kind) -> RateLimit? { limits[kind] }

  /// `NEBULAGC_RATELIMIT=off` turns all off; `NEBULAGC_RATELIMIT_NODES=50/100` is rate and burst of one.
  init(_ text: (String) -> String?, _ problems: inout [String]) {
    let all = text("NEBULAGC_RATELIMIT") ?? "on"
    if all != "on" && all != "off" {
      problems.append("NEBULAGC_RATELIMIT is \"\(all)\"; it must be on or off")
    }
    for kind in Kind.allCases {
      let given = text(Self.name(kind))
      limits[kind] = given == nil && all == "on" ? Self.defaults[kind] : nil
      guard let given, given != "off" else { continue }
      let parts = given.split(separator: "/").map { Double($0) ?? 0 }
      guard parts.count == 2, parts[0] > 0, parts[1] >= 1, parts.allSatisfy({ $0 <= 1e9 }) else {
        problems.append(
          "\(Self.name(kind)) is \"\(given)\"; it must be off or RATE/BURST, as 50/100, in requests "
            + "a second and at once"
        )
        continue
      }
      limits[kind] = RateLimit(rate: parts[0], burst: parts[1])
    }
  }
}
