/// The version of this server, which is that of the project.
package enum ServerVersion {
  package static let text = "0.1.0"
}
