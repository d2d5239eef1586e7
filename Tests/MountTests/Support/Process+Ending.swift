import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

extension Process {
  /// Waits for the program's end as the kernel tells it.
  ///
  /// Foundation notices an end by a descriptor that the program has open, and so does not as long as anything
  /// that the program has started keeps it.
  ///
  /// - Returns: its exit code, 128 where a signal ended it, or nil when it takes longer.
  func waitForEnd(seconds: Double) -> Int32? {
    let end = ContinuousClock.now + .seconds(seconds)
    var pause: UInt32 = 500
    while true {
      if !isRunning { return terminationReason == .exit ? terminationStatus : 128 }
      var information = siginfo_t()
      // Foundation is left to collect the program, or has just done so.
      let found = waitid(
        P_PID,
        id_t(processIdentifier),
        &information,
        WEXITED | WNOHANG | WNOWAIT
      )
      if found == 0, information.si_signo == SIGCHLD {
        let isExit = information.si_code == Int32(CLD_EXITED)
        return isExit ? information._sifields._sigchld.si_status : 128
      }
      guard ContinuousClock.now < end else { return nil }
      usleep(pause)
      pause = min(pause * 2, 10_000)
    }
  }
}
