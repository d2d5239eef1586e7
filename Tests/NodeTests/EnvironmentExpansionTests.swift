import Testing

@testable import Node

@Suite struct EnvironmentExpansionTests {
  private static let environment = ["A": "alpha", "B": "beta", "C": "alpha", "LINES": "x\ny"]

  @Test(arguments: [
    ("$A", "alpha"), ("${A}", "alpha"), ("${ A }", "alpha"), ("x$A.y", "xalpha.y"),
    ("$A_", ""), ("${A}_", "alpha_"), ("$UNSET", ""),
    ("${A == 'alpha'}", "true"), ("${A == \"alpha\"}", "true"), ("${A == 'beta'}", "false"),
    ("${A == C}", "true"), ("${A == B}", "false"), ("${A != B}", "true"), ("${A != C}", "false"),
    ("${A=='alpha'}", "true"), ("${UNSET == ''}", "true"), ("${UNSET != UNSET2}", "false"),
    ("$1 $ $$A 5$", "$1 $ $A 5$"), ("", ""), ("é$Aé", "éalphaé"),
  ])
  func formsOfLiteFS(text: String, expanded: String) {
    var expansion = EnvironmentExpansion(environment: Self.environment, file: "f")
    #expect(expansion.expand(text) == expanded)
    #expect(expansion.problems.allSatisfy { $0.severity == .warning })
  }

  @Test(arguments: ["a\n${A", "a\n${A\n}", "a\n${A = B}", "a\n${}", "a\n${A == }", "a\n$LINES"])
  func mistakesNameTheLine(text: String) {
    var expansion = EnvironmentExpansion(environment: Self.environment, file: "f")
    _ = expansion.expand(text)
    #expect(expansion.problems.count == 1)
    #expect(expansion.problems.first?.line == 2)
    #expect(expansion.problems.first?.severity == .error)
  }

  @Test func nothingIsReportedInComments() {
    var expansion = EnvironmentExpansion(environment: [:], file: "f")
    _ = expansion.expand("a: 1 # costs $MONEY ${\n# ${A = B}\n")
    #expect(expansion.problems == [])
  }

  @Test func anUnsetVariableIsAWarning() {
    var expansion = EnvironmentExpansion(environment: [:], file: "f")
    _ = expansion.expand("\n$NOBODY")
    #expect(
      expansion.problems.map(\.description) == [
        "f:2: warning: environment variable NOBODY is not set; it stands for nothing here"
      ]
    )
  }
}
