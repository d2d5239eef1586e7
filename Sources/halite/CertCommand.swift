import ArgumentParser
import Node

struct CertCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cert",
    abstract: "Make the certificates by which nodes know each other.",
    subcommands: [Initialize.self, Issue.self]
  )

  struct Initialize: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "init",
      abstract: "Make the cluster's certificate authority.",
      discussion: """
        Writes ca.pem, which every node needs, and ca-key.pem, which only `cert issue` needs: keep \
        it off the nodes.
        """
    )

    @Option(name: .long, help: "The directory to write to.", completion: .directory)
    var dir: String

    @Option(name: .long, help: "How long it is valid.")
    var days: Int?

    func validate() throws { try CertCommand.check(days) }

    func run() throws {
      for path in try CertificateFiles(directory: dir).makeAuthority(days: days) { print(path) }
    }
  }

  struct Issue: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "issue",
      abstract: "Make a node's certificate and key.",
      discussion: """
        Writes NAME.pem and NAME-key.pem. A node reads them again when they change, so a renewed \
        certificate needs no restart.
        """
    )

    @Option(name: .long, help: "The directory with ca.pem and ca-key.pem.", completion: .directory)
    var dir: String

    @Option(name: .long, help: "The node's name, its \"lease.hostname\".")
    var name: String

    @Option(
      name: .long,
      help: "A name or address under which other nodes reach it; may be given several times."
    )
    var host: [String] = []

    @Option(name: .long, help: "How long it is valid.")
    var days: Int?

    @Flag(name: .long, help: "Replace a certificate that exists.")
    var renew = false

    func validate() throws { try CertCommand.check(days) }

    func run() throws {
      let files = CertificateFiles(directory: dir)
      for path in try files.issue(name: name, hosts: host, days: days, replacing: renew) {
        print(path)
      }
    }
  }

  private static func check(_ days: Int?) throws {
    if let days, !(1...36_500).contains(days) {
      throw ValidationError("--days must be from 1 to 36500")
    }
  }
}
