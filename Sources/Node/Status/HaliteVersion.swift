/// The version of this build.
package enum HaliteVersion {
  package static let text = "0.1.0"
}
