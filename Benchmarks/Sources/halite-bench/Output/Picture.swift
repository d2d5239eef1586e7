/// Bars that say how fast something is beside the plain file system, as an SVG file.
struct Picture {
  struct Bar {
    let label: String
    /// Of the plain file system's speed, 1 being the same.
    let part: Double
  }

  private static let width = 760
  private static let left = 300
  private static let step = 26
  private static let top = 56

  let title: String
  let bars: [Bar]

  var svg: String {
    let height = Self.top + Self.step * bars.count + 24
    let room = Double(Self.width - Self.left - 70)
    var text = """
      <svg xmlns="http://www.w3.org/2000/svg" width="\(Self.width)" height="\(height)" \
      viewBox="0 0 \(Self.width) \(height)" font-family="sans-serif" font-size="13">
      <rect width="100%" height="100%" fill="#ffffff"/>
      <text x="16" y="24" font-size="15" font-weight="bold">\(Self.escaped(title))</text>
      <text x="16" y="42" fill="#666666">Speed as a part of the plain file system's; a full bar is the same.</text>

      """
    for (index, bar) in bars.enumerated() {
      let y = Self.top + Self.step * index
      let length = Int((min(max(bar.part, 0), 1) * room).rounded())
      text += """
        <text x="\(Self.left - 10)" y="\(y + 15)" text-anchor="end">\(Self.escaped(bar.label))</text>
        <rect x="\(Self.left)" y="\(y + 3)" width="\(Int(room))" height="16" fill="#eeeeee"/>
        <rect x="\(Self.left)" y="\(y + 3)" width="\(length)" height="16" fill="#2f6f9f"/>
        <text x="\(Self.left + Int(room) + 8)" y="\(y + 15)">\(Figure.percent(bar.part, of: 1))</text>

        """
    }
    return text + "</svg>\n"
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for character in text {
      switch character {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      default: result.append(character)
      }
    }
    return result
  }
}
