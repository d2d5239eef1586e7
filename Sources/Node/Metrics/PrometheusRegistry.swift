package import CoreMetrics
import Synchronization

/// Keeps metrics for Prometheus to fetch: the backend of swift-metrics.
///
/// The text is that of the exposition format 0.0.4 (prometheus.io/docs/instrumenting/
/// exposition_formats): families in the order of their names, each with its HELP and TYPE line.
/// Counters end in `_total`; timers are histograms in seconds. Values are read one by one while
/// others write them, as with every Prometheus client.
package final class PrometheusRegistry: MetricsFactory {
  /// Label sets of one family; more means that a label is not bounded, and would fill the memory
  /// here and in Prometheus. What comes later is counted in `halite_metrics_dropped_series_total`.
  static let maximumSeries = 1000

  /// What a family is called for people, and where its buckets end.
  package struct Description: Sendable {
    package var help: String
    /// Ascending; empty for the default ones.
    package var buckets: [Double]

    package init(help: String, buckets: [Double] = []) {
      self.help = help
      self.buckets = buckets
    }
  }

  /// From a fast commit to a slow disk, in seconds.
  package static let latencyBuckets: [Double] = [
    0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1, 2.5, 5, 10,
  ]

  private enum Series {
    case counter(CounterSeries)
    case gauge(GaugeSeries)
    case histogram(HistogramSeries)

    var type: String {
      switch self {
      case .counter: "counter"
      case .gauge: "gauge"
      case .histogram: "histogram"
      }
    }
  }

  private struct Family {
    var type: String
    var series: [String: Series] = [:]
  }

  private struct State {
    var families: [String: Family] = [:]
    var dropped = 0
  }

  private let descriptions: [String: Description]
  private let state = Mutex(State())

  package init(descriptions: [String: Description] = [:]) {
    self.descriptions = descriptions
  }

  // MARK: - MetricsFactory

  package func makeCounter(
    label: String,
    dimensions: [(String, String)]
  ) -> any CounterHandler {
    find(label, dimensions) { .counter(CounterSeries()) } as? any CounterHandler
      ?? DiscardingSeries()
  }

  package func makeFloatingPointCounter(
    label: String,
    dimensions: [(String, String)]
  ) -> any FloatingPointCounterHandler {
    find(label, dimensions) { .counter(CounterSeries()) } as? any FloatingPointCounterHandler
      ?? DiscardingSeries()
  }

  package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
    find(label, dimensions) { .gauge(GaugeSeries()) } as? any MeterHandler ?? DiscardingSeries()
  }

  package func makeRecorder(
    label: String,
    dimensions: [(String, String)],
    aggregate: Bool
  ) -> any RecorderHandler {
    find(label, dimensions) {
      aggregate ? .histogram(self.makeHistogram(label)) : .gauge(GaugeSeries())
    } as? any RecorderHandler ?? DiscardingSeries()
  }

  package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    find(label, dimensions) { .histogram(self.makeHistogram(label)) } as? any TimerHandler
      ?? DiscardingSeries()
  }

  // Series stay until the process ends: a counter that starts again would look like a restart.
  package func destroyCounter(_ handler: any CounterHandler) {}
  package func destroyMeter(_ handler: any MeterHandler) {}
  package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
  package func destroyRecorder(_ handler: any RecorderHandler) {}
  package func destroyTimer(_ handler: any TimerHandler) {}

  private func makeHistogram(_ label: String) -> HistogramSeries {
    let buckets = descriptions[PrometheusText.name(label)]?.buckets ?? []
    return HistogramSeries(bounds: buckets.isEmpty ? Self.latencyBuckets : buckets)
  }

  /// The handler of a series, made at first use; nil when there is no room, or when the name
  /// belongs to another type.
  private func find(
    _ label: String,
    _ dimensions: [(String, String)],
    make: () -> Series
  ) -> (any AnyObject & Sendable)? {
    let name = PrometheusText.name(label)
    let labels = PrometheusText.labels(dimensions)
    let series: Series? = state.withLock { state in
      let new = make()
      var family = state.families[name] ?? Family(type: new.type)
      let known = family.series[labels]
      guard family.type == new.type,
        known != nil || family.series.count < Self.maximumSeries
      else {
        state.dropped += 1
        return nil
      }
      if let known { return known }
      family.series[labels] = new
      state.families[name] = family
      return new
    }
    switch series {
    case .counter(let series)?: return series
    case .gauge(let series)?: return series
    case .histogram(let series)?: return series
    case nil: return nil
    }
  }

  // MARK: - Exposition

  /// All families as text.
  package func text() -> String {
    let (families, dropped) = state.withLock { ($0.families, $0.dropped) }
    var output = PrometheusText()
    for (name, family) in families.sorted(by: { $0.key < $1.key }) {
      output.family(name, type: family.type, help: descriptions[name]?.help)
      for (labels, series) in family.series.sorted(by: { $0.key < $1.key }) {
        switch series {
        case .counter(let series): output.sample(name, labels, series.value)
        case .gauge(let series): output.sample(name, labels, series.value)
        case .histogram(let series): output.histogram(name, labels, series)
        }
      }
    }
    let name = "halite_metrics_dropped_series_total"
    output.family(
      name,
      type: "counter",
      help: "Series not kept because their family had too many."
    )
    output.sample(name, "", Double(dropped))
    return output.text
  }
}
