//! Calendar arithmetic: instants to ISO 8601 in a user's zone and back.
//!
//! Zoho answers every datetime in the token user's zone, so the offset changes with daylight
//! saving from row to row (API reference, "time zones"). The handful of zones here carry their
//! current rules; there is no time zone database and no history of rules.

use std::fmt::Write as _;

const DAY: i64 = 86_400;

/// A time zone with a fixed offset and, if it has one, a daylight saving rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone {
    name: &'static str,
    standard_seconds: i64,
    saving: Saving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saving {
    None,
    /// Last Sunday of March to last Sunday of October, at 01:00 UTC.
    Europe,
    /// Second Sunday of March to first Sunday of November, at 02:00 local time.
    America,
    /// First Sunday of October to first Sunday of April, at 02:00 standard time.
    Australia,
}

const ZONES: &[Zone] = &[
    Zone { name: "UTC", standard_seconds: 0, saving: Saving::None },
    Zone { name: "Etc/UTC", standard_seconds: 0, saving: Saving::None },
    Zone { name: "Australia/Sydney", standard_seconds: 36_000, saving: Saving::Australia },
    Zone { name: "Australia/Melbourne", standard_seconds: 36_000, saving: Saving::Australia },
    Zone { name: "Australia/Adelaide", standard_seconds: 34_200, saving: Saving::Australia },
    Zone { name: "Europe/London", standard_seconds: 0, saving: Saving::Europe },
    Zone { name: "Europe/Berlin", standard_seconds: 3_600, saving: Saving::Europe },
    Zone { name: "Europe/Paris", standard_seconds: 3_600, saving: Saving::Europe },
    Zone { name: "America/New_York", standard_seconds: -18_000, saving: Saving::America },
    Zone { name: "America/Los_Angeles", standard_seconds: -28_800, saving: Saving::America },
    Zone { name: "Asia/Kolkata", standard_seconds: 19_800, saving: Saving::None },
    Zone { name: "Asia/Tokyo", standard_seconds: 32_400, saving: Saving::None },
];

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = ZONES[0];

    /// The zone of that name, if it is one of those built in.
    pub fn named(name: &str) -> Option<Self> {
        ZONES.iter().find(|zone| zone.name == name).copied()
    }

    /// The IANA name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Seconds east of UTC at that instant.
    pub fn offset_at(&self, instant: i64) -> i64 {
        if self.saves_at(instant) { self.standard_seconds + 3_600 } else { self.standard_seconds }
    }

    /// The instant of a local time; in the hour that exists twice, the first one.
    pub fn from_local(&self, local: i64) -> i64 {
        let first = local - self.offset_at(local - self.standard_seconds - 3_600);
        if first + self.offset_at(first) == local { first } else { local - self.standard_seconds }
    }

    fn saves_at(&self, instant: i64) -> bool {
        let (year, _, _) = civil(instant.div_euclid(DAY) as i32);
        let local_switch = |month, nth, hours: i64| sunday(year, month, nth) * DAY + hours * 3_600;
        match self.saving {
            Saving::None => false,
            Saving::Europe => (local_switch(3, -1, 1)..local_switch(10, -1, 1)).contains(&instant),
            Saving::America => {
                let start = local_switch(3, 2, 2) - self.standard_seconds;
                let end = local_switch(11, 1, 1) - self.standard_seconds;
                (start..end).contains(&instant)
            }
            Saving::Australia => {
                let end = local_switch(4, 1, 2) - self.standard_seconds;
                let start = local_switch(10, 1, 2) - self.standard_seconds;
                instant < end || instant >= start
            }
        }
    }
}

/// Day number of the nth Sunday of a month; -1 is the last one.
fn sunday(year: i32, month: u32, nth: i32) -> i64 {
    let first = i64::from(days(year, month, 1));
    // 1970-01-01 was a Thursday: day numbers of Sundays are 3 modulo 7.
    let first_sunday = first + (3 - first).rem_euclid(7);
    if nth > 0 {
        return first_sunday + i64::from(nth - 1) * 7;
    }
    let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
    let last = i64::from(next) - 1;
    last - (last - 3).rem_euclid(7)
}

/// Days since 1970-01-01 of a calendar day (proleptic Gregorian).
pub fn days(year: i32, month: u32, day: u32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month as i32 + 9) % 12) + 2) / 5 + day as i32 - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day number.
pub fn civil(day: i32) -> (i32, u32, u32) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i32::from(month <= 2);
    (year, month as u32, (of_year - (153 * month_index + 2) / 5 + 1) as u32)
}

fn push_two(out: &mut String, number: i64) {
    out.push((b'0' + (number / 10 % 10) as u8) as char);
    out.push((b'0' + (number % 10) as u8) as char);
}

/// Appends `2026-03-01`.
pub fn push_date(out: &mut String, day: i32) {
    let (year, month, day) = civil(day);
    if (0..10_000).contains(&year) {
        push_two(out, i64::from(year / 100));
        push_two(out, i64::from(year % 100));
    } else {
        let _ = write!(out, "{year}");
    }
    out.push('-');
    push_two(out, i64::from(month));
    out.push('-');
    push_two(out, i64::from(day));
}

/// Appends `2026-03-01T09:30:00` of a local time.
fn push_local(out: &mut String, local: i64) {
    push_date(out, local.div_euclid(DAY) as i32);
    let second = local.rem_euclid(DAY);
    for (mark, part) in [('T', second / 3_600), (':', second / 60 % 60), (':', second % 60)] {
        out.push(mark);
        push_two(out, part);
    }
}

/// Appends `2026-03-01T09:30:00+11:00`, as Zoho writes datetimes for a user of that zone.
pub fn push_datetime(out: &mut String, instant: i64, zone: Zone) {
    let offset = zone.offset_at(instant);
    push_local(out, instant + offset);
    out.push(if offset < 0 { '-' } else { '+' });
    push_two(out, offset.abs() / 3_600);
    out.push(':');
    push_two(out, offset.abs() / 60 % 60);
}

/// Appends `2026-02-28T22:30:00Z`.
pub fn push_utc(out: &mut String, instant: i64) {
    push_local(out, instant);
    out.push('Z');
}

/// The text of [`push_datetime`].
pub fn datetime_text(instant: i64, zone: Zone) -> String {
    let mut out = String::with_capacity(25);
    push_datetime(&mut out, instant, zone);
    out
}

/// Reads `2026-03-01`.
pub fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (number(text, 0, 4)?, number(text, 5, 7)?, number(text, 8, 10)?);
    let parsed = days(year as i32, month as u32, day as u32);
    // A day that does not exist, such as 31 April, comes back as another one.
    let exists = (1..=12).contains(&month) && civil(parsed) == (year as i32, month as u32, day as u32);
    exists.then_some(parsed)
}

/// Reads `2026-03-01T09:30:00+11:00` (or `Z`, or a fraction of a second, which is dropped).
pub fn parse_datetime(text: &str) -> Option<i64> {
    let (local, rest) = parse_local(text)?;
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    if rest == "Z" {
        return Some(local);
    }
    let sign = match rest.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = match rest.len() {
        6 if rest.as_bytes()[3] == b':' => (number(rest, 1, 3)?, number(rest, 4, 6)?),
        5 => (number(rest, 1, 3)?, number(rest, 3, 5)?),
        _ => return None,
    };
    (hours <= 14 && minutes < 60).then(|| local - sign * (hours * 3_600 + minutes * 60))
}

/// Reads `2026-03-01T09:30:00` (or with a blank for the `T`); returns the rest of the text.
pub fn parse_local(text: &str) -> Option<(i64, &str)> {
    let head = text.get(..19)?;
    let bytes = head.as_bytes();
    if !matches!(bytes[10], b'T' | b' ') || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let day = i64::from(parse_date(&head[..10])?);
    let (hour, minute, second) = (number(head, 11, 13)?, number(head, 14, 16)?, number(head, 17, 19)?);
    (hour < 24 && minute < 60 && second < 60)
        .then(|| (day * DAY + hour * 3_600 + minute * 60 + second, &text[19..]))
}

fn number(text: &str, from: usize, to: usize) -> Option<i64> {
    let digits = text.get(from..to)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Reads an HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn parse_http_date(text: &str) -> Option<i64> {
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, clock, "GMT"] = parts[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as u32 + 1;
    let day = days(year.parse().ok()?, month, day.parse().ok()?);
    let (hour, minute, second) = (number(clock, 0, 2)?, number(clock, 3, 5)?, number(clock, 6, 8)?);
    Some(i64::from(day) * DAY + hour * 3_600 + minute * 60 + second)
}

/// Writes an HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(instant: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let day = instant.div_euclid(DAY);
    let (year, month, of_month) = civil(day as i32);
    let second = instant.rem_euclid(DAY);
    format!(
        "{}, {of_month:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        WEEKDAYS[day.rem_euclid(7) as usize],
        MONTHS[month as usize - 1],
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    fn sydney() -> Zone {
        Zone::named("Australia/Sydney").expect("built in")
    }

    #[test]
    fn every_day_of_four_centuries_round_trips() {
        for day in -146_097..146_097 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn offsets_follow_daylight_saving() {
        // Sydney: clocks went back on 6 April 2025 at 03:00 and forward on 5 October at 02:00.
        for (utc, local) in [
            ("2025-04-05T15:59:59Z", "2025-04-06T02:59:59+11:00"),
            ("2025-04-05T16:00:00Z", "2025-04-06T02:00:00+10:00"),
            ("2025-10-04T15:59:59Z", "2025-10-05T01:59:59+10:00"),
            ("2025-10-04T16:00:00Z", "2025-10-05T03:00:00+11:00"),
        ] {
            let instant = parse_datetime(utc).expect(utc);
            assert_eq!(datetime_text(instant, sydney()), local);
            assert_eq!(parse_datetime(local), Some(instant));
        }
        let berlin = Zone::named("Europe/Berlin").expect("built in");
        assert_eq!(
            datetime_text(parse_datetime("2025-03-30T01:00:00Z").unwrap(), berlin),
            "2025-03-30T03:00:00+02:00"
        );
        let york = Zone::named("America/New_York").expect("built in");
        assert_eq!(
            datetime_text(parse_datetime("2025-11-02T06:00:00Z").unwrap(), york),
            "2025-11-02T01:00:00-05:00"
        );
        assert_eq!(
            datetime_text(parse_datetime("2025-11-02T05:59:59Z").unwrap(), york),
            "2025-11-02T01:59:59-04:00"
        );
    }

    #[test]
    fn local_times_find_their_instant() {
        for text in ["2025-01-15T10:00:00", "2025-07-15T10:00:00", "2025-10-05T03:00:00"] {
            let (local, _) = parse_local(text).expect(text);
            let instant = sydney().from_local(local);
            assert!(datetime_text(instant, sydney()).starts_with(text));
        }
    }

    #[test]
    fn bad_dates_are_refused() {
        for bad in ["2025-02-29", "2025-13-01", "2025-1-1", "01/02/2025", ""] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
        for bad in ["2025-02-28", "2025-02-28T10:00:00", "2025-02-28T25:00:00Z"] {
            assert_eq!(parse_datetime(bad), None, "{bad}");
        }
    }

    #[test]
    fn http_dates_round_trip() {
        let text = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(http_date(parse_http_date(text).expect(text)), text);
    }
}
