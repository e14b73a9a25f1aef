//! Instants and days as Zoho writes them (ISO 8601, to the second, any offset) and as records hold
//! them (UTC). Written by hand because every row of every bulk file passes through.

/// Seconds since 1970 of an ISO 8601 instant with an offset (`Z`, `+05:30`, `+0530`).
///
/// A fraction of a second is dropped: Zoho's resolution is one second. `None` when it is no such text.
pub fn epoch_seconds(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let day = Day::parse(bytes)?;
    if bytes.len() < 20 || !matches!(bytes[10], b'T' | b' ') || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(bytes, 11)?, two(bytes, 14)?, two(bytes, 17)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &bytes[19..];
    if rest[0] == b'.' {
        let digits = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = &rest[1 + digits..];
    }
    let offset = offset_seconds(rest)?;
    Some(day.since_1970() * 86_400 + hour * 3_600 + minute * 60 + second - offset)
}

/// Whether this is a day of the calendar as `YYYY-MM-DD`.
pub fn is_date(text: &str) -> bool {
    text.len() == 10 && Day::parse(text.as_bytes()).is_some()
}

/// Appends `YYYY-MM-DDTHH:MM:SSZ`.
pub fn write_utc(seconds: i64, out: &mut Vec<u8>) {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let day = Day::from_1970(days);
    let mut text = *b"0000-00-00T00:00:00Z";
    let mut put = |at: usize, width: usize, mut number: i64| {
        for place in text[at..at + width].iter_mut().rev() {
            *place = b"0123456789"[usize::try_from(number % 10).unwrap_or(0)];
            number /= 10;
        }
    };
    put(0, 4, day.year);
    put(5, 2, day.month);
    put(8, 2, day.day);
    put(11, 2, rest / 3_600);
    put(14, 2, rest / 60 % 60);
    put(17, 2, rest % 60);
    out.extend_from_slice(&text);
}

fn offset_seconds(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        b"Z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let minutes = match digits.len() {
        5 if digits[2] == b':' => two(digits, 3)?,
        4 => two(digits, 2)?,
        2 => 0,
        _ => return None,
    };
    Some(sign * (two(digits, 0)? * 3_600 + minutes * 60))
}

fn two(bytes: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (bytes.get(at)?, bytes.get(at + 1)?);
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// A day of the proleptic Gregorian calendar.
///
/// The two conversions follow Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms": the
/// year is taken to begin in March, so that the leap day comes last.
struct Day {
    year: i64,
    month: i64,
    day: i64,
}

impl Day {
    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let year = two(bytes, 0)? * 100 + two(bytes, 2)?;
        let (month, day) = (two(bytes, 5)?, two(bytes, 8)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + i64::from(leap),
            _ => return None,
        };
        (1..=last).contains(&day).then_some(Self { year, month, day })
    }

    fn since_1970(&self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    fn from_1970(days: i64) -> Self {
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_whole_instants_are_taken() {
        assert_eq!(epoch_seconds("2024-02-29T00:00:00.123Z"), epoch_seconds("2024-02-29T05:30:00+0530"));
        for text in ["2026-02-29T00:00:00Z", "2026-03-01", "2026-03-01T09:30:00", "2026-03-01T24:00:00Z"] {
            assert_eq!(epoch_seconds(text), None, "{text}");
        }
        assert!(is_date("2024-02-29") && !is_date("2023-02-29") && !is_date("2024-02-29T"));
    }

    proptest! {
        #[test]
        fn instants_agree_with_chrono(seconds in -60_000_000_000i64..200_000_000_000) {
            let expected = chrono::DateTime::from_timestamp(seconds, 0).expect("in range");
            let expected = expected.format("%Y-%m-%dT%H:%M:%SZ").to_string();
            let mut out = Vec::new();
            write_utc(seconds, &mut out);
            prop_assert_eq!(String::from_utf8_lossy(&out), expected.as_str());
            prop_assert_eq!(epoch_seconds(&expected), Some(seconds));
        }
    }
}
