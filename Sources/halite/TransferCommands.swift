import ArgumentParser
import Foundation
import Node

struct ImportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Make a SQLite file a database of the running node.",
    discussion: """
      A database of that name is replaced, in one transaction. To be run on the primary; the file \
      must not be in use.
      """
  )

  @OptionGroup var options: ConfigurationOptions

  @Argument(help: "The database's path in the mount.")
  var name: String

  @Argument(help: "The SQLite file.", completion: .file())
  var file: String

  func run() async throws {
    let client = try options.client()
    let (handle, size) = try DatabaseFiles.openSource(file)
    var bar = ProgressBar("import \(name)")
    let position = try await client.importDatabase(
      name,
      total: size,
      read: { try handle.read(upToCount: 1 << 20).flatMap { $0.isEmpty ? nil : [UInt8]($0) } },
      progress: { bar.update($0, of: $1) }
    )
    bar.finish()
    print("\(name) is at \(position)")
  }
}

struct ExportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write a consistent copy of a database to a file.",
    discussion: "Works on any node, while the database is in use. The file is replaced whole."
  )

  @OptionGroup var options: ConfigurationOptions

  @Argument(help: "The database's path in the mount.")
  var name: String

  @Argument(help: "The file to write.", completion: .file())
  var file: String

  func run() async throws {
    let client = try options.client()
    let base = FileManager.default.currentDirectoryPath
    let target = try ExportTarget(file.hasPrefix("/") ? file : base + "/" + file)
    var bar = ProgressBar("export \(name)")
    do {
      let size = try await client.export(
        name,
        write: { try target.write($0) },
        progress: { bar.update($0, of: $1) }
      )
      try target.finish()
      bar.finish()
      print("\(file): \(size) bytes")
    } catch {
      bar.finish()
      target.cancel()
      throw error
    }
  }
}
