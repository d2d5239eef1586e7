import Store

extension ServerConnection {
  func performSnapshot(_ directive: PrimaryPeer.Directive) {
    let source = server.source
    switch directive {
    case .openSnapshot(let id, let database, let checksums):
      ask(snapshotReads) {
        Result { () throws(StoreError) in
          try source.openSnapshot(of: database, checksums: checksums)
        }
      } then: { connection, result in
        if case .success(let opened) = result { connection.snapshot = (id, opened) }
        connection.peer?.opened(id, result.map(\.begin))
      }
    case .readSnapshot(let id, let maxBytes):
      guard let reader = snapshot?.source else { return }
      ask(snapshotReads) {
        Result { () throws(StoreError) in try reader.next(maxBytes: maxBytes) }
      } then: {
        $0.peer?.pages(id, $1)
      }
    case .endSnapshot(let id):
      guard let reader = snapshot?.source else { return }
      ask(snapshotReads) {
        Result { () throws(StoreError) in try reader.end() }
      } then: { connection, result in
        connection.forgetSnapshot(id)
        connection.peer?.ended(id, result)
      }
    case .dropSnapshot(let id): forgetSnapshot(id)
    default: break
    }
  }

  private func forgetSnapshot(_ id: UInt32) { if snapshot?.id == id { snapshot = nil } }
}
