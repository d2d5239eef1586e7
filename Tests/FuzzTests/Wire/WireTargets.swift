import LTX
import NIOCore
import Store

@testable import Node
@testable import Replication

/// What comes over a socket, as bytes.
enum WireTargets {
  static let all = [frames, control]

  /// A byte whose bits say what to put right and in how small pieces the rest arrives.
  static let frames = FuzzTarget(
    "frames",
    seeds: {
      let all = WireSeeds.messages.map { WireSeeds.bytes(Frame(term: Term(4), message: $0)) }
      return all.map { [1] + $0 } + [[3] + all.flatMap { $0 }]
    }
  ) { bytes in
    guard let choice = bytes.first else { return }
    var stream = Array(bytes.dropFirst())
    if choice & 1 != 0 { seal(&stream) }
    var decoder = FrameDecoder(
      maxPayload: choice & 2 == 0 ? Frame.maxPayload : Frame.maxHelloPayload
    )
    let step = choice & 4 == 0 ? max(1, stream.count) : 1 + Int(choice >> 3)
    var rest = stream[...]
    do throws(ReplicationError) {
      while !rest.isEmpty {
        decoder.append(ByteBuffer(bytes: rest.prefix(step)))
        rest = rest.dropFirst(step)
        while let frame = try decoder.next() {
          do { try again(frame) } catch { throw ReplicationError(.store, "\(error)") }
        }
        guard decoder.pendingBytes <= stream.count else {
          throw ReplicationError(.store, "more is pending than has arrived")
        }
      }
    } catch {
      if error.code == .store { throw FuzzFinding(error.message) }
    }
  }

  /// What was decoded is encoded to something that is decoded to the same.
  private static func again(_ frame: Frame) throws {
    let first = WireSeeds.bytes(frame)
    var decoder = FrameDecoder(maxPayload: Frame.maxPayload)
    decoder.append(ByteBuffer(bytes: first))
    guard let second = try decoder.next() else {
      throw FuzzFinding("a decoded frame is encoded to a part of one")
    }
    try FuzzFinding.check(
      WireSeeds.bytes(second) == first,
      "a frame of type \(frame.message.kind) changes when it is sent on"
    )
  }

  /// Puts the checksum of each frame right, as far as their lengths lead.
  private static func seal(_ bytes: inout [UInt8]) {
    var offset = 0
    while offset + Frame.headerSize <= bytes.count {
      let length = Int(bytes.big(UInt32.self, at: offset))
      guard length >= Frame.countedHeaderSize, offset + 4 + length <= bytes.count else { return }
      var sum = FrameChecksum(
        length: UInt32(length),
        type: bytes[offset + 4],
        term: bytes.big(UInt64.self, at: offset + 5)
      )
      sum.update(ByteBuffer(bytes: bytes[(offset + Frame.headerSize)..<(offset + 4 + length)]))
      bytes.put(sum.value, at: offset + 13)
      offset += 4 + length
    }
  }

  /// A byte that says in how small pieces the rest arrives.
  static let control = FuzzTarget(
    "control",
    seeds: {
      let frames: [ControlFrame] = [
        .request("export", name: "app.db"), .request("import", name: "x", total: 9),
        .data(ByteBuffer(string: "some bytes")), .end, .progress(1, of: 2), .result("done"),
        .error("no"),
      ]
      var all = ByteBuffer()
      for frame in frames { try ControlFrameEncoder().encode(data: frame, out: &all) }
      let bytes = Array(all.readableBytesView)
      return [[0] + bytes, [3] + bytes]
        + [#"{"type":"data","bytes":1048576}"#, #"{"type":"request"}"#].map { text in
          [0] + Array(text.utf8) + [10]
        }
    }
  ) { bytes in
    guard let choice = bytes.first else { return }
    let stream = bytes.dropFirst()
    let processor = NIOSingleStepByteToMessageProcessor(ControlFrameDecoder())
    let step = choice == 0 ? max(1, stream.count) : Int(choice)
    var rest = stream
    do {
      while !rest.isEmpty {
        try processor.process(buffer: ByteBuffer(bytes: rest.prefix(step)), check)
        rest = rest.dropFirst(step)
      }
      try processor.finishProcessing(seenEOF: true, check)
    } catch let error as FuzzFinding {
      throw error
    } catch {}
  }

  private static func check(_ frame: ControlFrame) throws {
    try FuzzFinding.check(
      (frame.payload?.readableBytes ?? 0) == (frame.header.type == .data ? frame.header.bytes : 0),
      "a frame of the control socket has another length than it says"
    )
  }
}
