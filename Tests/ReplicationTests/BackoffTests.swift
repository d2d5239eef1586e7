import Replication
import Testing

@Suite struct BackoffTests {
  @Test func delaysDoubleUpToTheLongestAndAreSpread() {
    var random = SeededGenerator(seed: 3)
    var backoff = Backoff(shortest: .milliseconds(50), longest: .seconds(2))
    var steps: [Duration] = []
    for step in [50, 100, 200, 400, 800, 1_600, 2_000, 2_000] {
      let delay = backoff.next(using: &random)
      #expect(delay >= .milliseconds(step) / 2 && delay <= .milliseconds(step))
      steps.append(delay)
    }
    #expect(steps[6] != steps[7])
    for _ in 0..<1_000 { #expect(backoff.next(using: &random) <= .seconds(2)) }
    backoff.reset()
    #expect(backoff.next(using: &random) <= .milliseconds(50))
  }
}
