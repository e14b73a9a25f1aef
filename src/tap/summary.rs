//! What a run did, as people read it at its end.

use super::discover::Skipped;
use crate::diagnostic::{duration, thousands};
use crate::zoho::{Spent, Usage};
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
    /// Streams that were begun and not read to their end; the state says how far they are.
    pub unfinished: Vec<String>,
    /// Calls and credits.
    pub usage: Usage,
    /// Credits it was expected to cost when its streams were planned, polls apart.
    pub planned: u64,
    /// Whether that was the least, because nobody knew the size of a stream.
    pub planned_at_least: bool,
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
        write!(f, " in {}, for {}", duration(self.elapsed), count(credits.total(), "credit"))?;
        let Spent { data, metadata, counts, polls } = credits;
        write!(f, " ({data} data, {metadata} metadata, {counts} counting, {polls} polls;")?;
        let at_least = if self.planned_at_least { " at least" } else { "" };
        write!(f, " planned{at_least} {})", thousands(self.planned))?;
        if self.usage.retries > 0 {
            write!(f, ", {}", count(self.usage.retries, "retry"))?;
        }
        for stream in self.streams.iter().filter(|stream| stream.rows > 0) {
            write!(f, "\n  {}  {}", stream.stream, thousands(stream.rows))?;
            if !stream.ways.is_empty() {
                write!(f, " by {}", stream.ways)?;
            }
        }
        if !self.unfinished.is_empty() {
            write!(f, "\nNot read to the end: {}", self.unfinished.join(", "))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_their_noun() {
        assert_eq!([1, 2].map(|number| count(number, "retry")), ["1 retry", "2 retries"]);
        assert_eq!(count(1_000, "record"), "1,000 records");
    }
}
