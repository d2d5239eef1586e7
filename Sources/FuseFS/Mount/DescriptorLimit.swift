internal import Glibc

/// How many files this process may have open.
enum DescriptorLimit {
  private static let wanted: rlim_t = 1 << 20

  /// Raises the limit as far as is allowed: each file that is open on the mount is open here, too, and
  /// applications are to run into their own limits before the mount runs into this one.
  static func raise() {
    var limit = rlimit()
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    guard getrlimit(resource, &limit) == 0, limit.rlim_cur < wanted else { return }
    var higher = rlimit(rlim_cur: wanted, rlim_max: max(limit.rlim_max, wanted))
    if setrlimit(resource, &higher) == 0 { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(resource, &limit)
  }
}
