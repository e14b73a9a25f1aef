//! Holds STATE values until every row before them has an outcome.
//!
//! A value is passed on byte for byte, in order, never ahead of a row. A STATE neither closes a batch nor
//! hurries a job; how far confirmation lags behind the input is logged by the pipeline.

use std::collections::VecDeque;

/// Values held before neighbours are dropped: a tap may send one after every row.
const MOST_HELD: usize = 4_096;

/// STATE values that wait.
#[derive(Debug, Default)]
pub struct StateGate {
    held: VecDeque<(u64, String)>,
    keeps_all: bool,
    last_printed: Option<String>,
}

impl StateGate {
    /// Drops no value from now on: each is of one stream, and each has to come back.
    pub fn keep_all(&mut self) {
        self.keeps_all = true;
    }

    /// Takes a value that came on an input line.
    pub fn hold(&mut self, line: u64, value: &str) {
        if self.held.len() >= MOST_HELD && !self.keeps_all {
            self.thin();
        }
        self.held.push_back((line, value.to_owned()));
    }

    /// Drops every second value but the last: a STATE is a whole snapshot, so a later one says it all.
    fn thin(&mut self) {
        let last = self.held.len() - 1;
        let mut place = 0;
        self.held.retain(|_| {
            let keep = place % 2 == 0 || place == last;
            place += 1;
            keep
        });
    }

    /// Gives the values that are true once everything before line `pending` has an outcome; `None` means
    /// nothing is pending.
    pub fn release(&mut self, pending: Option<u64>) -> Vec<(u64, String)> {
        let ready =
            self.held.iter().take_while(|(line, _)| pending.is_none_or(|pending| *line < pending)).count();
        let released: Vec<_> = self.held.drain(..ready).collect();
        if let Some((_, value)) = released.last() {
            self.last_printed = Some(value.clone());
        }
        released
    }

    /// The last value given.
    pub fn last_printed(&self) -> Option<&str> {
        self.last_printed.as_deref()
    }

    /// The line of the first value that waits.
    pub fn waiting_since(&self) -> Option<u64> {
        self.held.front().map(|(line, _)| *line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_wait_for_the_rows_before_them() {
        let mut gate = StateGate::default();
        gate.hold(3, "a");
        gate.hold(7, "b");
        assert!(gate.release(Some(2)).is_empty());
        assert_eq!(gate.release(Some(5)), vec![(3, "a".to_owned())]);
        assert_eq!(gate.waiting_since(), Some(7));
        assert_eq!(gate.release(None), vec![(7, "b".to_owned())]);
        assert_eq!(gate.last_printed(), Some("b"));
    }

    #[test]
    fn many_values_are_thinned_and_the_last_stays() {
        let mut gate = StateGate::default();
        for line in 0..100_000 {
            gate.hold(line, &line.to_string());
        }
        assert!(gate.held.len() <= MOST_HELD);
        assert_eq!(gate.release(None).last().unwrap().0, 99_999);
    }

    proptest! {
        /// Rows are numbered by line and done in any order; no value may pass a row that is not.
        #[test]
        fn state_is_never_ahead(lines in prop::collection::vec(any::<bool>(), 1..60), order in any::<u64>()) {
            let mut gate = StateGate::default();
            let mut pending: Vec<u64> = Vec::new();
            for (line, is_row) in lines.iter().enumerate() {
                if *is_row { pending.push(line as u64) } else { gate.hold(line as u64, "s") }
            }
            let mut random = fastrand::Rng::with_seed(order);
            let mut last = None;
            loop {
                for (line, _) in gate.release(pending.iter().min().copied()) {
                    prop_assert!(pending.iter().all(|row| *row > line));
                    prop_assert!(last.is_none_or(|before| before < line));
                    last = Some(line);
                }
                if pending.is_empty() { break }
                pending.swap_remove(random.usize(..pending.len()));
            }
            prop_assert_eq!(last, lines.iter().rposition(|is_row| !is_row).map(|line| line as u64));
        }
    }
}
