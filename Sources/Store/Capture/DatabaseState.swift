import LTX

/// Everything about one database that capture and apply change together, under one lock.
struct DatabaseState: Sendable {
  /// Nil until the first transaction.
  var checksums: PageChecksums?
  var pageSize: PageSize?
  var position = Position.zero
  /// The log's entry that led to `position`.
  var entry = LogIndex.zero
  /// Up to this entry the main file holds every change durably, and so do the page checksums on
  /// disk: redo after a crash begins behind it.
  var stable = LogIndex.zero
  /// Whether the main file's name is durable as well, so that it is there when `stable` is read.
  var isNamed = false
  /// Counts snapshots that took the place of what was before.
  var history = 0

  var wal = WALCapture()
  /// Where in the current write-ahead log the newest committed copy of a page begins.
  var walPages: [UInt32: Int64] = [:]
  /// The file that `wal` describes.
  var walFile: (any DiskFile)?
  /// A client that had the database to itself may have started the write-ahead log over before all of it
  /// was captured: what the log does not know is to be found by comparing all pages.
  var mayHaveMissed = false
  /// Frames at which the daemon next tries a checkpoint: while a reader forbids it, every attempt
  /// costs as much as one that succeeds.
  var checkpointAt = Database.checkpointFrames
  /// The last entry whose pages are all in the main file (written, not necessarily durable).
  var backfilled = LogIndex.zero

  /// The main file, opened for the daemon's own use.
  var main: (any DiskFile)?
  /// The main file as it was when it last agreed with `position`.
  var known: KnownFile?
  /// The shared memory of the wal-index, once a client has opened it.
  var index: WALIndex?

  /// Whether SQLite asked for durability in the transaction under way (rollback journal).
  var synced = false
  /// Whether a sync of the main file failed, see `Database.renew`.
  var needsRenewal = false
  /// Whether a sync of the main file was answered without making it, see `Store.isRedone`.
  var owesSync = false
  /// Whether the log has a transaction whose rollback journal is about to end: until it has, a crash
  /// undoes it, and the log does it again, so nothing may be called stable.
  var isEnding = false
  /// Whether a rollback journal has ended and a crash could still bring it back.
  var endedJournal = false
  /// Why nobody may look at the database.
  var failed: StoreError?
  /// The entry whose pages could not be written to the end, which is why it failed.
  var torn: LogIndex?
  /// Why it takes no transactions at the moment, although it can be read: the wal-index could not be brought to
  /// the log.
  var stalled: StoreError?
  /// Whether who asks for the lock of writers makes the node try again.
  var isStallGuarded = false
  /// Pages of transactions that are in the log and that the files could not take, so that SQLite rolled
  /// them back: the next transaction records them as they are, see `Database.giveUp`.
  var unkept: Set<UInt32> = []
  /// A crash left the main file with other bytes in free pages than the log knows.
  var strayed = false
  /// Pages that the disk does not give back as they were committed, on the primary.
  var damaged: [PageNumber: DamagedPage] = [:]
  /// A comparison of the main file with the log failed: whatever differs is to be recorded by the
  /// next one.
  var uncompared = false
  /// The last transaction is in the log, and its writer was told that it failed; on a node that is not the
  /// primary any more the log decides.
  var isRefused = false
  /// Where the write-ahead log ended before the last transaction.
  var beforeLast: WALEnd?
  /// The main file was changed while no client could write it: it is to be read through soon.
  var isDoubted = false
  /// Something other than SQLite has emptied the main file, to write it anew, or taken the write-ahead
  /// log away: what is in the main file now is not explained by checkpoints.
  var isReplaced = false
  /// The database was dropped or replaced; the object stays for those who still hold it.
  var dropped = false
  /// How many renames are under way that give the database another name, or its name to another file.
  var moves = 0

  var pages: UInt32 { UInt32(clamping: checksums?.count ?? 0) }
  /// Where the captured frames of the write-ahead log end.
  var walEnd: WALEnd { WALEnd(end: wal.captured, sum: wal.lastSum, pages: pages) }

  /// Buffers kept from one transaction to the next, so that a commit allocates nothing.
  var scratch = CaptureScratch()
}

extension DatabaseState {
  /// Pages of a transaction above which what its capture needed is not kept for the next one.
  private static let keptPages = 8192

  /// Lets go of what large transactions have left behind.
  ///
  /// - Returns: whether there was anything.
  mutating func releaseLarge() -> Bool {
    var isLarge = false
    if walPages.isEmpty, walPages.capacity > Self.keptPages {
      walPages = [:]
      isLarge = true
    }
    if scratch.pages.capacity > Self.keptPages || scratch.changes.capacity > Self.keptPages {
      scratch = CaptureScratch()
      isLarge = true
    }
    return wal.releaseLarge(above: Self.keptPages) || isLarge
  }
}

/// Where captured frames end, in bytes, and the database as it is there.
struct WALEnd: Sendable {
  var end: Int64
  var sum: WALSum
  var pages: UInt32
}

/// Buffers of one database's capture.
struct CaptureScratch: Sendable {
  /// One frame of the largest page size; empty until first used.
  var frame: [UInt8] = []
  var changes: [PageChange] = []
  var pages: [PagePlace] = []
  var encoder: LTXEncoder?

  /// Takes the frame buffer out, so that it can be filled while other parts of the state are read.
  mutating func takeFrame() -> [UInt8] {
    let taken = frame
    frame = []
    return taken.isEmpty
      ? [UInt8](repeating: 0, count: 65_536 + WALFrame.headerBytes) : taken
  }
}

/// A page with its new checksum.
struct PageChange: Sendable {
  var page: PageNumber
  var checksum: Checksum
}

/// A page that may have changed and where its content lies.
struct PagePlace: Sendable {
  var page: PageNumber
  /// Byte offset in the write-ahead log, or nil for the main file.
  var offset: Int64?
}
