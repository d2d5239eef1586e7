import CoreMetrics
import Testing

@testable import Node

@Suite struct MetricsTests {
  @Test func theTextIsAsPrometheusReadsIt() {
    let registry = PrometheusRegistry(descriptions: [
      "b_total": .init(help: "Two\nlines \\ here."),
      "c_seconds": .init(help: "Times.", buckets: [0.25, 0.5, 1]),
    ])
    let plain = Counter(label: "b_total", factory: registry)
    plain.increment(by: 3)
    Counter(label: "b_total", dimensions: [("z", "1"), ("a", "x\"y\\\n")], factory: registry)
      .increment()
    let timer = CoreMetrics.Timer(label: "c_seconds", factory: registry)
    timer.recordNanoseconds(250_000_000)
    timer.recordNanoseconds(500_000_000)
    timer.recordNanoseconds(500_000_000)
    timer.recordNanoseconds(4_000_000_000)
    Gauge(label: "a.gauge", dimensions: [("db", "é")], factory: registry).record(-1.5)
    Recorder(label: "d", factory: registry).record(0.00003)
    // The name belongs to a counter.
    Gauge(label: "b_total", factory: registry).record(1)
    let expected = """
      # TYPE a_gauge gauge
      a_gauge{db="é"} -1.5
      # HELP b_total Two\\nlines \\\\ here.
      # TYPE b_total counter
      b_total 3
      b_total{a="x\\"y\\\\\\n",z="1"} 1
      # HELP c_seconds Times.
      # TYPE c_seconds histogram
      c_seconds_bucket{le="0.25"} 1
      c_seconds_bucket{le="0.5"} 3
      c_seconds_bucket{le="1"} 3
      c_seconds_bucket{le="+Inf"} 4
      c_seconds_sum 5.25
      c_seconds_count 4

      """
    let text = registry.text()
    #expect(text.hasPrefix(expected))
    #expect(text.contains("d_bucket{le=\"5e-05\"} 1\n"))
    #expect(text.hasSuffix("\nhalite_metrics_dropped_series_total 1\n"))
  }

  @Test func seriesAreBounded() {
    let registry = PrometheusRegistry()
    for number in 0..<(PrometheusRegistry.maximumSeries + 50) {
      Counter(label: "x_total", dimensions: [("n", "\(number)")], factory: registry).increment()
    }
    let lines = registry.text().split(separator: "\n")
    #expect(lines.count { $0.hasPrefix("x_total{") } == PrometheusRegistry.maximumSeries)
    #expect(lines.contains("halite_metrics_dropped_series_total 50"))
  }

  @Test func countersAddUpAcrossThreads() async {
    let registry = PrometheusRegistry()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          let counter = Counter(label: "n_total", factory: registry)
          let times = CoreMetrics.Timer(label: "t_seconds", factory: registry)
          for _ in 0..<10_000 {
            counter.increment()
            times.recordNanoseconds(1_000_000_000)
          }
        }
      }
    }
    let lines = registry.text().split(separator: "\n")
    #expect(lines.contains("n_total 80000"))
    #expect(lines.contains("t_seconds_sum 80000"))
    #expect(lines.contains("t_seconds_count 80000"))
  }

  @Test func everyMetricOfTheNodeIsDescribed() {
    let registry = PrometheusRegistry(descriptions: NodeMetrics.descriptions)
    let metrics = NodeMetrics(factory: registry)
    metrics.refused("certificate")
    let lines = registry.text().split(separator: "\n")
    let types = lines.filter { $0.hasPrefix("# TYPE") }.map { $0.split(separator: " ")[2] }
    let helps = lines.filter { $0.hasPrefix("# HELP") }.map { $0.split(separator: " ")[2] }
    #expect(types == helps)
    #expect(types.count == NodeMetrics.descriptions.count + 1)
    #expect(types.allSatisfy { $0.hasPrefix("halite_") })
    #expect(lines.contains("halite_refusals_total{reason=\"certificate\"} 1"))
  }
}
