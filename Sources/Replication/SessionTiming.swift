/// How often two nodes speak, and how long they wait for each other.
package struct SessionTiming: Hashable, Sendable {
  /// A side that has sent nothing for this long sends a heartbeat.
  package var heartbeat: Duration
  /// A peer that has sent nothing for this long is given up.
  package var silence: Duration
  /// How long a peer may take from the connection to the end of the handshake.
  package var handshake: Duration

  package init(
    heartbeat: Duration = .milliseconds(250),
    silence: Duration = .seconds(3),
    handshake: Duration = .seconds(5)
  ) {
    self.heartbeat = heartbeat
    self.silence = silence
    self.handshake = handshake
  }
}
