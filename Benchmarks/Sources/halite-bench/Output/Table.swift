/// A table for a terminal or a page.
struct Table {
  let title: String
  let columns: [String]
  private var rows: [[String]] = []

  init(_ title: String, _ columns: [String]) {
    self.title = title
    self.columns = columns
  }

  mutating func add(_ cells: [String]) { rows.append(cells) }

  func text(isMarkdown: Bool) -> String {
    isMarkdown ? markdown : plain
  }

  private var markdown: String {
    let line = { (cells: [String]) in "| " + cells.joined(separator: " | ") + " |\n" }
    let rule = ["---"] + columns.dropFirst().map { _ in "---:" }
    return "**\(title)**\n\n" + line(columns) + line(rule) + rows.map(line).joined()
  }

  private var plain: String {
    let widths = columns.indices.map { column in
      ([columns] + rows).map { $0[column].count }.max() ?? 0
    }
    var text = title + "\n"
    for row in [columns] + rows {
      let cells = row.enumerated().map { index, cell in
        let padding = String(repeating: " ", count: widths[index] - cell.count)
        return index == 0 ? cell + padding : padding + cell
      }
      text += "  " + cells.joined(separator: "   ") + "\n"
    }
    return text
  }
}
