import Testing

@testable import FuseFS

/// The table of nodes, without a mount.
struct InodeTableTests {
  private func identity(_ inode: UInt64, birth: Int64 = 0) -> FileIdentity {
    FileIdentity(device: 1, inode: inode, birth: birth)
  }

  @Test func aDirectoryTakesAlongWhatIsBelow() {
    var table = InodeTable(root: identity(1))
    let a = table.lookUp(identity(2), .root, "a")
    let b = table.lookUp(identity(3), a, "b")
    let file = table.lookUp(identity(4), b, "file")
    #expect(table.path(file) == "a/b/file")
    table.move(identity(3), .root, "moved")
    #expect(table.path(file) == "moved/file")
    #expect(table.path(b, "other") == "moved/other")
    #expect(table.path(.root, "top") == "top")
    table.move(identity(4), a, "file2")
    #expect(table.path(file) == "a/file2")
  }

  @Test func aNodeStaysUntilItIsForgottenAsOftenAsItWasLookedUp() {
    var table = InodeTable(root: identity(1))
    let directory = table.lookUp(identity(2), .root, "d")
    let file = table.lookUp(identity(3), directory, "f")
    #expect(table.lookUp(identity(3), directory, "f") == file)
    // The directory is kept by what is below it.
    table.forget(directory, 1)
    #expect(table.path(file) == "d/f")
    table.forget(file, 1)
    #expect(table.path(file) == "d/f")
    table.forget(file, 1)
    #expect(table.path(file) == nil)
    #expect(table.count == 1)
    #expect(table.lookUp(identity(3), .root, "f") != file)
  }

  @Test func aRemovedFileHasNoPathAndItsInodeMayComeBack() {
    var table = InodeTable(root: identity(1))
    let old = table.lookUp(identity(2), .root, "f")
    table.removeName(identity(2), .root, "f", isLast: true)
    #expect(table.path(old) == nil)
    #expect(table.identity(old) == identity(2))
    let new = table.lookUp(identity(2), .root, "f")
    #expect(new != old)
    #expect(table.path(new) == "f")
    table.forget(old, 1)
    #expect(table.path(new) == "f")
    // The same number, but another birth: another file, even if nobody told of the removal.
    #expect(table.lookUp(identity(2, birth: 5), .root, "f") != new)
  }

  @Test func oneOfTwoNamesGoes() {
    var table = InodeTable(root: identity(1))
    let file = table.lookUp(identity(2), .root, "a")
    _ = table.lookUp(identity(2), .root, "b")
    table.removeName(identity(2), .root, "a", isLast: false)
    #expect(table.path(file) == "b")
    table.removeName(identity(2), .root, "b", isLast: false)
    #expect(table.path(file) == nil)
    #expect(table.lookUp(identity(2), .root, "c") == file)
    #expect(table.path(file) == "c")
  }

  @Test func forgettingTooMuchIsHarmless() {
    var table = InodeTable(root: identity(1))
    let file = table.lookUp(virtual: ".primary", .root, ".primary")
    #expect(table.isVirtual(file))
    table.forget(file, .max)
    table.forget(file, 1)
    table.forget(.root, .max)
    #expect(table.path(.root) == "")
    #expect(table.count == 1)
  }
}
