//! Date patterns of a field mapping: `MM/dd/yyyy`, `yyyy-MM-dd HH:mm:ss` and their like.
//!
//! Letters as Zoho's page "Bulk Write, Create job" uses them; text between single quotes and every
//! other character stand for themselves. `XXX` and `Z` read an offset.

use crate::emulator::time::{self, Zone};

/// What Zoho reads without a `format`.
pub const DEFAULT_DATE: &str = "MM/dd/yyyy";

/// What Zoho reads without a `format`.
pub const DEFAULT_DATETIME: &str = "MM/dd/yyyy HH:mm:ss";

/// A pattern, ready to read cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Offset,
    Literal(char),
}

/// What a cell said; parts that the pattern does not have are at their start.
struct Moment {
    numbers: [i64; 6],
    offset_seconds: Option<i64>,
}

impl Pattern {
    /// Reads a pattern; `None` when it has a letter that means nothing or no full date.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if first == '\'' {
                let (literal, after) = rest[1..].split_once('\'')?;
                parts.extend(literal.chars().map(Part::Literal));
                rest = after;
                continue;
            }
            let len = rest.find(|c| c != first).unwrap_or(rest.len());
            match (&rest[..len], first) {
                ("yyyy", _) => parts.push(Part::Year),
                ("MM" | "M", _) => parts.push(Part::Month),
                ("dd" | "d", _) => parts.push(Part::Day),
                ("HH" | "H", _) => parts.push(Part::Hour),
                ("mm" | "m", _) => parts.push(Part::Minute),
                ("ss" | "s", _) => parts.push(Part::Second),
                ("XXX" | "Z", _) => parts.push(Part::Offset),
                (run, 'T') if run.len() == 1 => parts.push(Part::Literal('T')),
                (_, letter) if letter.is_ascii_alphanumeric() => return None,
                (run, _) => parts.extend(run.chars().map(Part::Literal)),
            }
            rest = &rest[len..];
        }
        let full = [Part::Year, Part::Month, Part::Day].iter().all(|part| parts.contains(part));
        full.then_some(Self(parts))
    }

    /// Days since 1970 of a cell of a date field.
    pub fn read_date(&self, cell: &str) -> Option<i32> {
        self.read(cell)?.day()
    }

    /// Seconds since 1970 of a cell of a datetime field; without an offset it is local to `zone`.
    pub fn read_datetime(&self, cell: &str, zone: Zone) -> Option<i64> {
        let moment = self.read(cell)?;
        let [.., hour, minute, second] = moment.numbers;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let local = i64::from(moment.day()?) * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(match moment.offset_seconds {
            Some(offset) => local - offset,
            None => zone.from_local(local),
        })
    }

    fn read(&self, cell: &str) -> Option<Moment> {
        let mut moment = Moment { numbers: [0, 1, 1, 0, 0, 0], offset_seconds: None };
        let mut rest = cell;
        for part in &self.0 {
            let place = match part {
                Part::Literal(literal) => {
                    rest = rest.strip_prefix(*literal)?;
                    continue;
                }
                Part::Offset => {
                    (moment.offset_seconds, rest) = offset(rest)?;
                    continue;
                }
                Part::Year => 0,
                Part::Month => 1,
                Part::Day => 2,
                Part::Hour => 3,
                Part::Minute => 4,
                Part::Second => 5,
            };
            let width = if *part == Part::Year { 4 } else { 2 };
            let len = rest.bytes().take(width).take_while(u8::is_ascii_digit).count();
            if *part == Part::Year && len != width {
                return None;
            }
            moment.numbers[place] = rest[..len].parse().ok()?;
            rest = &rest[len..];
        }
        rest.is_empty().then_some(moment)
    }
}

impl Moment {
    /// The day, if there is such a one.
    fn day(&self) -> Option<i32> {
        let [year, month, day, ..] = self.numbers;
        time::parse_date(&format!("{year:04}-{month:02}-{day:02}"))
    }
}

/// `Z`, `+05:30` or `+0530` at the start of a text.
fn offset(text: &str) -> Option<(Option<i64>, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((Some(0), rest));
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.strip_prefix(['+', '-'])?;
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let after = digits[2..].strip_prefix(':').unwrap_or(&digits[2..]);
    let minutes: i64 = after.get(..2)?.parse().ok()?;
    Some((Some(sign * (hours * 3_600 + minutes * 60)), &after[2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("a pattern")
    }

    #[test]
    fn dates() {
        let day = time::parse_date("2026-03-01");
        assert_eq!(pattern(DEFAULT_DATE).read_date("03/01/2026"), day);
        assert_eq!(pattern("yyyy-MM-dd").read_date("2026-03-01"), day);
        for bad in ["2026-03-01", "02/30/2026", "3/1/26", "", "03/01/2026 "] {
            assert_eq!(pattern(DEFAULT_DATE).read_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn datetimes_are_local_unless_they_say_otherwise() {
        let sydney = Zone::named("Australia/Sydney").expect("built in");
        let instant = time::parse_datetime("2026-03-01T09:30:00+11:00");
        assert_eq!(pattern("yyyy-MM-dd HH:mm:ss").read_datetime("2026-03-01 09:30:00", sydney), instant);
        let with_offset = pattern("yyyy-MM-dd'T'HH:mm:ssXXX");
        assert_eq!(with_offset.read_datetime("2026-02-28T22:30:00+00:00", sydney), instant);
        assert_eq!(with_offset.read_datetime("2026-02-28T25:30:00+00:00", sydney), None);
    }

    #[test]
    fn patterns_that_mean_nothing() {
        for bad in ["", "yyyy-MM", "qq/MM/dd", "yy-MM-dd", "yyyy-MM-dd 'open"] {
            assert_eq!(Pattern::parse(bad), None, "{bad}");
        }
    }
}
