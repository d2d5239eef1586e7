import LTX
import Testing

@testable import Store

/// Whoever is to try again comes later and later, since SQLite's busy handler waits longer each time.
@Suite struct ParkedWritersTests {
  @Test func aTurnThatWasLostIsKeptForLongerTheNextTime() {
    var parked = ParkedWriters()
    parked.owe()
    #expect(parked.courtesy == ParkedWriters.shortCourtesy)
    let isLost = parked.forfeit()
    let isLate = parked.claim()
    #expect(isLost && !isLate)
    // SQLite waits for 100 ms at the most.
    #expect(parked.courtesy > 100)
    parked.owe()
    let isTaken = parked.claim()
    let isLostToo = parked.forfeit()
    #expect(isTaken && !isLostToo)
    #expect(parked.courtesy == ParkedWriters.shortCourtesy)
  }

  @Test func whoNeverComesKeepsOthersWaitingForLongOnlyOnce() {
    var parked = ParkedWriters()
    for expected in [ParkedWriters.longCourtesy, ParkedWriters.shortCourtesy] {
      parked.owe()
      let isLost = parked.forfeit()
      #expect(isLost && parked.courtesy == expected)
    }
  }

  @Test func hopeLastsUntilSomebodyWaitsInVain() {
    var parked = ParkedWriters()
    let ticket = parked.park({ _ in }, at: Position.zero)
    #expect(!parked.isHopeless)
    let answers = [parked.expire(ticket), parked.expire(ticket)]
    #expect(answers[0] != nil && answers[1] == nil)
    #expect(parked.isHopeless)
    let admitted = parked.admit(at: Position.zero)
    #expect(admitted.isEmpty && !parked.isHopeless)
  }
}
