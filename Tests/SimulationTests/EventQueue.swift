/// Events in the order of their times; those of one time in the order they were added.
struct EventQueue {
  struct Item {
    var time: Int
    var order: Int
    var event: Event
  }

  private var heap: [Item] = []
  private var order = 0

  mutating func add(_ event: Event, at time: Int) {
    order += 1
    heap.append(Item(time: time, order: order, event: event))
    var child = heap.count - 1
    while child > 0, Self.isEarlier(heap[child], heap[(child - 1) / 2]) {
      heap.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func next() -> Item? {
    guard let last = heap.popLast() else { return nil }
    guard let first = heap.first else { return last }
    heap[0] = last
    var parent = 0
    while true {
      var least = 2 * parent + 1
      guard least < heap.count else { return first }
      if least + 1 < heap.count, Self.isEarlier(heap[least + 1], heap[least]) { least += 1 }
      guard Self.isEarlier(heap[least], heap[parent]) else { return first }
      heap.swapAt(parent, least)
      parent = least
    }
  }

  private static func isEarlier(_ a: Item, _ b: Item) -> Bool {
    a.time == b.time ? a.order < b.order : a.time < b.time
  }
}
