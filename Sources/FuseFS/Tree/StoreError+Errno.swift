internal import Glibc
internal import Store

/// The one table from the store's errors to what an application sees in `errno`.
extension StoreError.Code {
  var errorNumber: Int32 {
    if let number = systemNumber { return number }
    switch self {
    case .notFound: return ENOENT
    case .exists: return EEXIST
    // What a read-only file system says; SQLite makes SQLITE_READONLY of it.
    case .readOnly: return EROFS
    case .full: return ENOSPC
    case .busy: return EBUSY
    case .invalid: return EINVAL
    case .unsupported: return EOPNOTSUPP
    // Corrupt, diverged, stopped: the data cannot be had; details are in the log.
    default: return EIO
    }
  }
}

extension StoreError {
  var errorNumber: Int32 { code.errorNumber }
}
