/// A time as `2025-10-09T08:53:21.000Z`.
///
/// The calendar is counted in eras of 400 years (146,097 days) that begin on 1 March, so that the
/// leap day is the last day of a year (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms"). Years beyond four digits are written with as many as they take.
///
/// - Parameter milliseconds: since 1970; any value.
func utc(milliseconds: Int64) -> String {
  let perDay: Int64 = 86_400_000
  let ofDay = ((milliseconds % perDay) + perDay) % perDay
  let days = (milliseconds / perDay) - (milliseconds % perDay < 0 ? 1 : 0) + 719_468
  let era = (days >= 0 ? days : days - 146_096) / 146_097
  let dayOfEra = days - era * 146_097
  let yearOfEra =
    (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
  let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
  let marchMonth = (5 * dayOfYear + 2) / 153
  let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
  let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
  let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  func digits(_ value: Int64, _ width: Int) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
  }
  return digits(year, 4) + "-" + digits(month, 2) + "-" + digits(day, 2) + "T"
    + digits(ofDay / 3_600_000, 2) + ":" + digits(ofDay / 60_000 % 60, 2) + ":"
    + digits(ofDay / 1_000 % 60, 2) + "." + digits(ofDay % 1_000, 3) + "Z"
}
