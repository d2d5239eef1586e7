import NIOCore
import Replication
import Store
import Testing

/// What is no request for a grant and no answer to one.
@Suite(.timeLimit(.minutes(1))) struct GrantFrameTests {
  /// The id of a grant, as it is encoded.
  private static let id: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 7]

  private func decode(_ kind: Message.Kind, _ payload: [UInt8]) throws -> Message? {
    var decoder = FrameDecoder(maxPayload: Frame.maxRequestPayload)
    decoder.append(
      ByteBuffer(bytes: Samples.sealed(type: kind.rawValue, term: 1, payload: payload))
    )
    return try decoder.next()?.message
  }

  private func expectMalformed(_ kind: Message.Kind, _ payload: [UInt8], _ what: String) {
    let error = #expect(throws: ReplicationError.self, "\(what)") { try decode(kind, payload) }
    #expect(error?.code == .malformed, "\(what)")
  }

  private func text(_ bytes: [UInt8]) -> [UInt8] {
    [UInt8(truncatingIfNeeded: bytes.count >> 8), UInt8(truncatingIfNeeded: bytes.count)] + bytes
  }

  @Test func unknownCasesAreRefused() {
    for tag: UInt8 in [0, 5, 255] {
      expectMalformed(.grantRequest, [tag] + Self.id, "request \(tag)")
    }
    for tag: UInt8 in [0, 7, 255] {
      expectMalformed(.grantAnswer, [tag] + Self.id, "answer \(tag)")
    }
  }

  @Test func whatEndsEarlyOrLateIsRefused() {
    for request in Samples.grantRequests {
      let payload = payload(of: .grantRequest(request))
      // Of a transaction any number of bytes may be the whole.
      if case .append = request {
        expectMalformed(.grantRequest, Array(payload.prefix(10)), "\(request)")
        continue
      }
      expectMalformed(.grantRequest, payload + [0], "\(request)")
      expectMalformed(.grantRequest, Array(payload.dropLast()), "\(request)")
    }
    for answer in Samples.grantAnswers {
      let payload = payload(of: .grantAnswer(answer))
      expectMalformed(.grantAnswer, payload + [0], "\(answer)")
      expectMalformed(.grantAnswer, Array(payload.dropLast()), "\(answer)")
    }
    expectMalformed(.grantRequest, [], "an empty request")
    expectMalformed(.grantAnswer, [], "an empty answer")
  }

  @Test func onlyNamesOfTheTreeCanBeAskedFor() throws {
    for name in ["", "../up.db", "/root.db", "a//b.db", "nul\0.db"] {
      expectMalformed(.grantRequest, [1] + Self.id + text(Array(name.utf8)), name)
    }
    expectMalformed(.grantRequest, [1] + Self.id + text([0xff, 0xfe]), "no UTF-8")
    let longest = [UInt8](repeating: UInt8(ascii: "a"), count: WireLimit.database)
    guard
      case .grantRequest(.ask(_, let name))? = try decode(
        .grantRequest,
        [1] + Self.id + text(longest)
      )
    else {
      Issue.record("not a request for a grant")
      return
    }
    #expect(name.utf8.count == WireLimit.database)
    expectMalformed(.grantRequest, [1] + Self.id + text(longest + longest.prefix(1)), "too long")
  }

  @Test func onlyTransactionsCanBeAppended() {
    for kind: UInt8 in [0, 2, 3, 4, 7, 255] {
      expectMalformed(.grantRequest, [3] + Self.id + [kind, 1], "an entry of kind \(kind)")
    }
  }

  @Test func whatIsAppendedIsBounded() throws {
    let longest = [UInt8](repeating: 5, count: WireLimit.appended)
    let start: [UInt8] = [3] + Self.id + [LogEntryKind.transaction.rawValue]
    guard
      case .grantRequest(.append(let id, let kind, let payload))? = try decode(
        .grantRequest,
        start + longest
      )
    else {
      Issue.record("nothing is appended")
      return
    }
    #expect(id == GrantID(7) && kind == .transaction && payload == longest)
    expectMalformed(.grantRequest, start, "nothing to append")
    expectMalformed(.grantRequest, start + longest + [5], "too much to append")
  }

  @Test func indexesAndReasonsAreBounded() {
    for tag: UInt8 in [1, 4, 6] {
      let index = [UInt8](repeating: 0xff, count: 8)
      expectMalformed(.grantAnswer, [tag] + Self.id + index, "answer \(tag)")
    }
    for tag: UInt8 in [3, 5] {
      let reason = [UInt8](repeating: UInt8(ascii: "a"), count: WireLimit.text + 1)
      expectMalformed(.grantAnswer, [tag] + Self.id + text(reason), "answer \(tag)")
      expectMalformed(.grantAnswer, [tag] + Self.id + text([0xc3]), "answer \(tag)")
    }
  }

  /// What a peer that was not admitted yet may send is far less.
  @Test func theBoundOfARequestHoldsWhatIsAppended() {
    let request = GrantRequest.append(
      GrantID(1),
      .stage,
      payload: [UInt8](repeating: 1, count: WireLimit.appended)
    )
    let size = payload(of: .grantRequest(request)).count
    #expect(size <= Frame.maxRequestPayload)
    #expect(size > Frame.maxHelloPayload)
  }

  private func payload(of message: Message) -> [UInt8] {
    Array(Samples.bytes(of: Frame(term: Term(1), message: message))[Frame.headerSize...])
  }
}
