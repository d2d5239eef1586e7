/// How often two nodes speak, and how long they wait for each other.
package struct SessionTiming: Hashable, Sendable {
  /// A side that has sent nothing for this long sends a heartbeat.
  package var heartbeat: Duration
  /// A peer that has sent nothing for this long is given up.
  package var silence: Duration
  /// How long a peer may take from the connection to the end of the handshake.
  package var handshake: Duration
  /// How long a replica that has said how far it is lets more come together before it says so again. Nobody
  /// waits for its word as long as commits do not.
  package var acknowledgement: Duration

  package init(
    heartbeat: Duration = .milliseconds(250),
    silence: Duration = .seconds(3),
    handshake: Duration = .seconds(5),
    acknowledgement: Duration = .milliseconds(5)
  ) {
    self.acknowledgement = acknowledgement
    self.heartbeat = heartbeat
    self.silence = silence
    self.handshake = handshake
  }
}
