//! What a run did, as people read it at its end.

use super::discover::Skipped;
use crate::zoho::Usage;
use std::fmt;
use std::time::Duration;

/// What became of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    /// The stream.
    pub stream: String,
    /// Records emitted.
    pub rows: u64,
    /// The ways they were read by, such as `COQL, Bulk Read`; empty when nothing was.
    pub ways: String,
}

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The streams, in the order in which they were read.
    pub streams: Vec<StreamSummary>,
    /// Streams that are selected and could not be read.
    pub skipped: Vec<Skipped>,
    /// Calls and credits.
    pub usage: Usage,
    /// How long it took.
    pub elapsed: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deletes = |stream: &&StreamSummary| stream.stream == super::deletes::STREAM;
        let rows: u64 = self.streams.iter().filter(|stream| !deletes(stream)).map(|stream| stream.rows).sum();
        let streams = self.streams.iter().filter(|stream| !deletes(stream)).count();
        write!(f, "Read {} of {}", count(rows, "record"), count(streams as u64, "stream"))?;
        if let Some(deleted) = self.streams.iter().find(deletes) {
            write!(f, " and {}", count(deleted.rows, "delete"))?;
        }
        let credits = &self.usage.credits;
        let total = credits.data + credits.metadata + credits.polls;
        write!(f, " in {}, for {}", duration(self.elapsed), count(total, "credit"))?;
        write!(f, " ({} data, {} metadata, {} polls)", credits.data, credits.metadata, credits.polls)?;
        if self.usage.retries > 0 {
            write!(f, ", {}", count(self.usage.retries, "retry"))?;
        }
        for stream in self.streams.iter().filter(|stream| stream.rows > 0) {
            write!(f, "\n  {}  {}", stream.stream, thousands(stream.rows))?;
            if !stream.ways.is_empty() {
                write!(f, " by {}", stream.ways)?;
            }
        }
        for skipped in &self.skipped {
            write!(f, "\nSkipped: {} ({})", skipped.module, skipped.reason)?;
        }
        Ok(())
    }
}

/// `1 record`, `2 records`, `1,000 retries`.
fn count(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{} {stem}ies", thousands(number)),
        _ => format!("{} {noun}s", thousands(number)),
    }
}

/// A number with thousands separators.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let mut text = digits[..head].to_owned();
    for group in digits.as_bytes()[head..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(group.iter().map(|&digit| char::from(digit)));
    }
    text
}

/// `0.9 s`, `41 s`, `6 min 12 s`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!([0, 999, 1_000, 1_292_645].map(thousands), ["0", "999", "1,000", "1,292,645"]);
        let times = [900, 9_950, 41_000, 372_000].map(|millis| duration(Duration::from_millis(millis)));
        assert_eq!(times, ["0.9 s", "9.9 s", "41 s", "6 min 12 s"].map(String::from));
        assert_eq!(count(1, "retry") + &count(2, "retry"), "1 retry2 retries");
    }
}
