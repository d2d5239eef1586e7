import Testing

/// The reader of sources that the other tests rely on.
@Suite struct SwiftTextTests {
  @Test func commentsAndStringsAreBlank() {
    let text = SwiftText(
      """
      let a = "x! // no" // b!
      /* c! /* d! */ e! */ let f = #"g" \\(h!) "# + "\\(i + "j!")k!"
      """
    )
    #expect(
      text.code == [
        "let a = \"        \"      ",
        "                     let f =  \"         \"  + \" (i + \"  \")  \"",
      ]
    )
  }

  @Test func multilineStringsAreBlank() {
    let text = SwiftText("a(\"\"\"\n  b! \"c\"\n  \\(d) e!\n  \"\"\") f")
    #expect(text.code == ["a(\"  ", "        ", "   (d)   ", "  \"  ) f"])
  }

  @Test func functionsAreMeasured() {
    let text = SwiftText(
      """
      protocol P {
        func none()
        init(a: Int = { 3 }())
      }
      struct S {
        init() {}
        package static func f(
          a: () -> Void = { }
        ) {
          if true { print("}") }
        }
        var x: Int { 3 }
        func g() { call { func h() {
        } } }
      }
      """
    )
    #expect(
      text.functions() == [
        .init(line: 6, lines: 1), .init(line: 7, lines: 5), .init(line: 13, lines: 2),
      ]
    )
  }
}
