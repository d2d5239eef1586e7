import Store

extension LTXInspection {
  /// Reports on files of this machine.
  package func report(on paths: [String], write: (String) -> Void) -> Bool {
    report(on: paths, disk: SystemDisk(), write: write)
  }
}
