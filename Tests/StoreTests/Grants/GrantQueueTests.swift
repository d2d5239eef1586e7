import Testing

@testable import Store

struct GrantQueueTests {
  typealias Queue = GrantQueue<String>

  @Test func theOwnerHasItUntilSomebodyAsks() {
    var queue = Queue(owner: "own")
    #expect(queue.isOwned && queue.waiting.isEmpty)
    #expect(queue.ask("own").isEmpty)
    #expect(queue.ask("a") == [.recall("own")])
    #expect(queue.ask("a").isEmpty)
    #expect(queue.gaveBack("own") == [.give("a")])
    #expect(queue.holder == "a")
    #expect(queue.gaveBack("a") == [.give("own")])
    #expect(queue.isOwned && queue.waiting.isEmpty)
  }

  @Test func firstComeFirstServed() {
    var queue = Queue(owner: "own")
    #expect(queue.ask("a") == [.recall("own")])
    #expect(queue.ask("b").isEmpty)
    #expect(queue.ask("own").isEmpty, "it is being recalled, and waits for its next turn")
    #expect(queue.ask("c").isEmpty)
    #expect(queue.waiting == ["a", "b", "own", "c"])
    #expect(queue.gaveBack("own") == [.give("a"), .recall("a")])
    #expect(queue.ask("a").isEmpty, "who is being asked back may ask again, behind all others")
    #expect(queue.gaveBack("a") == [.give("b"), .recall("b")])
    #expect(queue.gaveBack("b") == [.give("own"), .recall("own")])
    #expect(queue.gaveBack("own") == [.give("c"), .recall("c")])
    #expect(queue.gaveBack("c") == [.give("a")])
  }

  @Test func whatNobodyWantsAnyMoreIsNotDue() {
    var queue = Queue(owner: "own")
    _ = queue.ask("a")
    #expect(queue.gaveBack("own") == [.give("a")])
    #expect(queue.pause() == [.recall("a")])
    let first = queue.recalls
    #expect(queue.isDue("a", recall: first))
    #expect(queue.resume().isEmpty)
    #expect(!queue.isDue("a", recall: first))
    #expect(queue.ask("own") == [.recall("a")])
    #expect(!queue.isDue("a", recall: first), "it has its time again")
    #expect(queue.isDue("a", recall: queue.recalls))
    #expect(queue.gaveBack("own").isEmpty)
    #expect(!queue.isDue("a", recall: queue.recalls))
    #expect(queue.pause() == [.recall("a")])
    #expect(queue.ask("b").isEmpty)
    #expect(queue.resume().isEmpty)
    #expect(queue.isDue("a", recall: queue.recalls))
  }

  @Test func whoDoesNotWaitAnyLongerIsForgotten() {
    var queue = Queue(owner: "own")
    _ = queue.ask("a")
    _ = queue.ask("b")
    #expect(queue.gaveBack("a").isEmpty)
    #expect(queue.gaveBack("own") == [.give("b")])
    _ = queue.ask("own")
    #expect(queue.gaveBack("own").isEmpty)
    #expect(queue.gaveBack("b") == [.give("own")])
  }

  /// The holder was recalled for somebody who has gone since: it may keep the database no longer all the same.
  @Test func aRecallStands() {
    var queue = Queue(owner: "own")
    _ = queue.ask("a")
    #expect(queue.gaveBack("a").isEmpty)
    #expect(queue.gaveBack("own") == [.give("own")])
    #expect(queue.isOwned && queue.waiting.isEmpty)
  }

  @Test func nobodyElseGetsItWhileItIsPaused() {
    var queue = Queue(owner: "own")
    _ = queue.ask("a")
    _ = queue.gaveBack("own")
    #expect(queue.pause() == [.recall("a")])
    #expect(queue.ask("b").isEmpty)
    #expect(queue.gaveBack("a") == [.give("own")])
    #expect(queue.resume() == [.recall("own")])
    #expect(queue.gaveBack("own") == [.give("b")])
  }
}
