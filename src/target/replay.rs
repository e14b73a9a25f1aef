//! Rows that come again: after a run that was cut off, the tap starts from an older STATE.
//!
//! A row that equals the latest accepted content of its key is not sent; its outcome is repeated. Rows
//! without a key are matched by content, each earlier one once. Once something else was sent for a key in
//! this run, all later rows of that key are sent too, so that the last one wins as it did in the source.
//! A row that was written without a lookup, and whose second pass never came, is sent as a change of its
//! record. Lookups go to the ledger; in memory are only the keys that were sent with new content. Only a run that
//! follows an unclean one looks anything up.

use std::collections::{HashMap, HashSet};

use super::config::Operation;
use super::ledger::{Accepted, Ledger, LedgerError, Reach};
use super::mapping::Route;
use super::outcome::Outcome;
use super::preflight::Row;

/// What to do with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Send,
    /// Under insert: this key was created by the earlier run with other content; change that record.
    Change(Change),
    /// It was written already; this is what became of it then.
    Replayed(Outcome),
}

/// How an earlier insert is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// By the id of the record.
    ById(String),
    /// By the route's match field, since the id was never seen.
    ByMatch,
}

/// Finds rows that were written before.
#[derive(Debug)]
pub struct Replays {
    ledger: Ledger,
    run: i64,
    active: bool,
    changed: HashSet<(i64, u128)>,
    seen: Vec<(i64, u64)>,
    reaches: HashMap<i64, Reach>,
    moved: bool,
    taken: HashMap<(i64, u128), u64>,
}

/// Matched rows are written to the ledger in groups of this size.
const GROUP: usize = 1_000;

impl Replays {
    /// Looks rows up in `ledger` if `active`, that is after an unclean run.
    pub fn new(ledger: Ledger, run: i64, active: bool) -> Self {
        Self {
            ledger,
            run,
            active,
            changed: HashSet::new(),
            seen: Vec::new(),
            reaches: HashMap::new(),
            moved: false,
            taken: HashMap::new(),
        }
    }

    /// Decides about one row.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn judge(&mut self, lane: i64, line: u64, route: &Route, row: &Row) -> Result<Verdict, LedgerError> {
        if !self.active {
            return Ok(Verdict::Send);
        }
        match row.key {
            Some(key) => self.judge_keyed(lane, line, key, route, row),
            None => self.judge_keyless(lane, line, row),
        }
    }

    fn judge_keyed(
        &mut self,
        lane: i64,
        line: u64,
        key: u128,
        route: &Route,
        row: &Row,
    ) -> Result<Verdict, LedgerError> {
        let Some(found) = self.ledger.latest(lane, key)? else { return Ok(Verdict::Send) };
        let sent_now = self.changed.contains(&(lane, key)) || (found.run == self.run && !found.replayed);
        let same = found.hash == row.hash && !sent_now && !found.overtaken;
        if same && !found.partly {
            return self.replayed(lane, found, line);
        }
        self.changed.insert((lane, key));
        self.reach(lane, &found, same);
        if route.operation != Operation::Insert {
            return Ok(Verdict::Send);
        }
        Ok(match found.outcome.record_id {
            Some(id) => Verdict::Change(Change::ById(id)),
            None if row.match_key.is_some() => Verdict::Change(Change::ByMatch),
            None => Verdict::Send,
        })
    }

    fn judge_keyless(&mut self, lane: i64, line: u64, row: &Row) -> Result<Verdict, LedgerError> {
        let taken = self.taken.get(&(lane, row.hash)).copied().unwrap_or(0);
        match self.ledger.keyless(lane, row.hash, self.run, taken)? {
            None => Ok(Verdict::Send),
            Some(found) => {
                *self.taken.entry((lane, row.hash)).or_default() += 1;
                let record = found.outcome.record_id.clone().filter(|_| found.partly);
                let verdict = self.replayed(lane, found, line)?;
                Ok(record.map_or(verdict, |id| Verdict::Change(Change::ById(id))))
            }
        }
    }

    fn replayed(&mut self, lane: i64, found: Accepted, line: u64) -> Result<Verdict, LedgerError> {
        self.seen.push((found.id, line));
        self.reach(lane, &found, true);
        if self.seen.len() >= GROUP {
            self.save()?;
        }
        Ok(Verdict::Replayed(Outcome { replayed: true, ..found.outcome }))
    }

    fn reach(&mut self, lane: i64, found: &Accepted, same: bool) {
        // A key that comes twice in one run is found as a row of this run.
        if found.place.run != self.run {
            let reach = Reach::extend(self.reaches.get(&lane).copied(), found.place, same);
            self.reaches.insert(lane, reach);
            self.moved = true;
        }
    }

    /// Records the rows matched so far as rows of this run, so that a second crash finds them again.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn save(&mut self) -> Result<(), LedgerError> {
        if self.moved || !self.seen.is_empty() {
            self.moved = false;
            self.ledger.take_over(self.run, &self.seen, &self.reaches)?;
            self.seen.clear();
            // Rows taken over are of this run now and are not found as earlier ones any more.
            self.taken.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::ledger::{Call, RowRecord, StoredBatch, Way};
    use crate::target::outcome::Action;
    use crate::target::plan::planned_call;
    use crate::target::tests::route;

    fn row(key: Option<u128>, hash: u128) -> Row {
        Row {
            body: String::new(),
            columns: Vec::new(),
            identifier: "{}".to_owned(),
            key,
            hash,
            match_key: None,
        }
    }

    struct Fixture {
        _folder: tempfile::TempDir,
        ledger: Ledger,
        lane: i64,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let ledger = Ledger::open(folder.path()).unwrap();
            let lane = ledger.lane("org", "", "a>B").unwrap();
            Self { _folder: folder, ledger, lane }
        }

        /// A run that accepted rows (line, key, hash) and printed STATEs at lines, and died.
        fn died(&self, rows: &[(u64, Option<u128>, u128)], states: &[u64]) {
            let run = self.ledger.begin_run("org", "", "x", 3).unwrap().run;
            self.accept(run, self.lane, rows);
            self.ledger.states_printed(run, states, 3).unwrap();
        }

        fn accept(&self, run: i64, lane: i64, rows: &[(u64, Option<u128>, u128)]) {
            self.end_call(run, lane, rows, &Outcome::new(Action::Inserted).with_record(Some("5".to_owned())));
        }

        fn end_call(&self, run: i64, lane: i64, rows: &[(u64, Option<u128>, u128)], outcome: &Outcome) {
            let batch = StoredBatch {
                id: format!("b{run}"),
                run,
                lane,
                route: route(),
                spool: "none".into(),
                entries: 9,
            };
            let call: Call = planned_call(0, Way::Upsert, vec![vec![0]]);
            self.ledger.add_batch("org", &batch, std::slice::from_ref(&call)).unwrap();
            let rows: Vec<RowRecord> = rows
                .iter()
                .map(|(line, key, hash)| RowRecord {
                    entry: 0,
                    line: *line,
                    key: *key,
                    hash: *hash,
                    outcome: outcome.clone(),
                    partly: false,
                    completes: None,
                })
                .collect();
            self.ledger.finish_call(&batch, &call, &rows, &mut []).unwrap();
            self.ledger.finish_batch(&batch.id).unwrap();
        }

        fn next(&self) -> Replays {
            let start = self.ledger.begin_run("org", "", "x", 3).unwrap();
            assert!(start.unclean);
            Replays::new(self.ledger.clone(), start.run, start.unclean)
        }

        fn is_replayed(&self, replays: &mut Replays, line: u64, row: &Row) -> bool {
            matches!(replays.judge(self.lane, line, &route(), row).unwrap(), Verdict::Replayed(_))
        }
    }

    #[test]
    fn only_the_latest_content_of_a_key_counts() {
        let fixture = Fixture::new();
        fixture.died(&[(1, Some(1), 10), (2, Some(1), 11), (3, Some(2), 20)], &[]);
        let mut replays = fixture.next();
        assert!(fixture.is_replayed(&mut replays, 5, &row(Some(2), 20)));
        // The older content was overwritten; once it is sent again, so is what followed.
        assert!(!fixture.is_replayed(&mut replays, 6, &row(Some(1), 10)));
        assert!(!fixture.is_replayed(&mut replays, 7, &row(Some(1), 11)));
        assert!(!fixture.is_replayed(&mut replays, 8, &row(Some(3), 30)));
    }

    #[test]
    fn rows_without_key_count_once_each_and_survive_a_second_crash() {
        let fixture = Fixture::new();
        fixture.died(&[(1, None, 10), (2, None, 10), (3, None, 11)], &[]);
        let mut replays = fixture.next();
        let same = row(None, 10);
        assert!(fixture.is_replayed(&mut replays, 1, &same));
        replays.save().unwrap();
        assert!(fixture.is_replayed(&mut replays, 2, &same));
        assert!(!fixture.is_replayed(&mut replays, 3, &same));
        replays.save().unwrap();
        // This run dies too, before it came to the third row; all three are known to the next.
        let mut replays = fixture.next();
        assert!(fixture.is_replayed(&mut replays, 1, &same));
        assert!(fixture.is_replayed(&mut replays, 2, &same));
        assert!(fixture.is_replayed(&mut replays, 3, &row(None, 11)));
        assert!(!fixture.is_replayed(&mut replays, 4, &same));
    }

    #[test]
    fn what_lies_before_the_last_states_cannot_come_again() {
        let fixture = Fixture::new();
        fixture.died(
            &[(1, Some(1), 1), (3, Some(3), 3), (5, Some(5), 5), (11, Some(11), 11)],
            &[2, 4, 6, 8, 10],
        );
        let mut replays = fixture.next();
        // A tap may start from the STATE of line 4, the third before the last.
        let found: Vec<bool> =
            [1, 3, 5, 11].iter().map(|n| fixture.is_replayed(&mut replays, 20, &row(Some(*n), *n))).collect();
        assert_eq!(found, [false, false, true, true]);
    }

    #[test]
    fn states_of_earlier_runs_count_as_long_as_a_tap_may_start_from_them() {
        let fixture = Fixture::new();
        fixture.died(&[(1, None, 1), (3, None, 3), (5, None, 5)], &[2, 4, 6]);
        // It went on from line 6, printed nothing and died; the next starts from line 2.
        fixture.died(&[(1, None, 7)], &[]);
        let mut replays = fixture.next();
        let found: Vec<bool> =
            [3, 5, 7, 9].map(|n: u64| fixture.is_replayed(&mut replays, n, &row(None, n.into()))).to_vec();
        assert_eq!(found, [true, true, true, false]);
    }

    #[test]
    fn content_of_before_a_change_is_not_what_a_record_holds() {
        let fixture = Fixture::new();
        fixture.died(&[(1, Some(1), 10), (2, Some(2), 20)], &[]);
        // All comes with new content, and that run ends well.
        let mut replays = fixture.next();
        for n in [1, 2] {
            assert!(!fixture.is_replayed(&mut replays, 1, &row(Some(n), 90 + n)));
        }
        replays.save().unwrap();
        fixture.accept(replays.run, fixture.lane, &[(1, Some(1), 91), (2, Some(2), 92)]);
        fixture.ledger.end_run(replays.run, true).unwrap();
        let start = fixture.ledger.begin_run("org", "", "x", 3).unwrap();
        let mut replays = Replays::new(fixture.ledger.clone(), start.run, start.unclean);
        assert!(!fixture.is_replayed(&mut replays, 2, &row(Some(2), 20)));
    }

    #[test]
    fn a_row_is_sent_again_when_nobody_knows_what_became_of_a_later_one() {
        let fixture = Fixture::new();
        fixture.died(&[(1, Some(1), 10)], &[]);
        let run = fixture.ledger.begin_run("org", "", "x", 3).unwrap().run;
        fixture.end_call(run, fixture.lane, &[(1, Some(1), 11)], &Outcome::new(Action::Unknown));
        assert!(!fixture.is_replayed(&mut fixture.next(), 1, &row(Some(1), 10)));
    }

    /// A run of a tap.
    #[derive(Debug, Clone)]
    struct Attempt {
        /// How many STATEs before the last one it starts.
        back: usize,
        /// Rows it sends.
        rows: usize,
        /// Rows of a batch, after which the target prints a STATE.
        batch: usize,
        end: End,
    }

    #[derive(Debug, Clone, Copy)]
    enum End {
        /// All is accepted, a STATE is printed, the input ends.
        Well,
        /// So many of the last rows are not sent.
        Short(usize),
        /// The last batch is not begun.
        Unsaved,
    }

    fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
        let end = prop_oneof![
            1 => Just(End::Well),
            4 => (0_usize..5).prop_map(End::Short),
            2 => Just(End::Unsaved),
        ];
        let attempt = (0_usize..4, 0_usize..30, 1_usize..9, end)
            .prop_map(|(back, rows, batch, end)| Attempt { back, rows, batch, end });
        proptest::collection::vec(attempt, 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_tap_that_starts_again_from_any_of_the_last_states_sends_nothing_twice(
            kept in 0_usize..4,
            keyed: bool,
            lanes in 1_usize..3,
            attempts in attempts(),
        ) {
            starts_again(kept, keyed, lanes, &attempts);
        }
    }

    fn starts_again(kept: usize, keyed: bool, lanes: usize, attempts: &[Attempt]) {
        let fixture = Fixture::new();
        let lanes: Vec<i64> =
            (0..lanes).map(|n| fixture.ledger.lane("org", "", &format!("{n}")).unwrap()).collect();
        let mut written = HashSet::new();
        // Rows of the source before each STATE printed, oldest first.
        let mut states = vec![0];
        for attempt in attempts {
            let run = fixture.ledger.begin_run("org", "", "x", kept).unwrap();
            let mut replays = Replays::new(fixture.ledger.clone(), run.run, run.unclean);
            let from = states[states.len() - 1 - attempt.back.min(kept).min(states.len() - 1)];
            let mut batches: Vec<Vec<_>> = vec![Vec::new(); lanes.len()];
            for n in from..from + attempt.rows {
                let line = (n - from + 1) as u64;
                // Lanes take turns of several rows, so that a run may see nothing of one of them.
                let lane = n / 5 % lanes.len();
                let row = row(keyed.then_some(n as u128), n as u128);
                let verdict = replays.judge(lanes[lane], line, &route(), &row).unwrap();
                if !matches!(verdict, Verdict::Replayed(_)) {
                    assert!(!written.contains(&n), "row {n} is sent again");
                    batches[lane].push((n, line, row.key));
                }
                let last = n + 1 == from + attempt.rows;
                match attempt.end {
                    End::Unsaved if last => break,
                    End::Short(unsent) if last => {
                        batches
                            .iter_mut()
                            .for_each(|batch| batch.truncate(batch.len().saturating_sub(unsent)));
                    }
                    _ if !last && !line.is_multiple_of(attempt.batch as u64) => continue,
                    _ => {}
                }
                replays.save().unwrap();
                for (lane, batch) in lanes.iter().zip(&mut batches) {
                    let rows: Vec<_> = batch.iter().map(|(n, line, key)| (*line, *key, *n as u128)).collect();
                    written.extend(batch.drain(..).map(|(n, ..)| n));
                    fixture.accept(run.run, *lane, &rows);
                }
                if !last || matches!(attempt.end, End::Well) {
                    states.push(n + 1);
                    fixture.ledger.states_printed(run.run, &[line], kept).unwrap();
                }
            }
            if attempt.rows == 0 {
                fixture.ledger.forget_run(run.run).unwrap();
            } else if matches!(attempt.end, End::Well) {
                fixture.ledger.end_run(run.run, true).unwrap();
                states.drain(..states.len() - 1);
            }
        }
    }

    #[test]
    fn an_insert_with_new_content_changes_the_record() {
        let fixture = Fixture::new();
        fixture.died(&[(1, Some(1), 10)], &[]);
        let mut replays = fixture.next();
        let insert = Route { operation: Operation::Insert, ..route() };
        let verdict = replays.judge(fixture.lane, 2, &insert, &row(Some(1), 12)).unwrap();
        assert_eq!(verdict, Verdict::Change(Change::ById("5".to_owned())));
    }

    #[test]
    fn after_a_clean_run_nothing_is_a_replay() {
        let fixture = Fixture::new();
        fixture.died(&[(1, Some(1), 10)], &[]);
        fixture.ledger.end_run(1, true).unwrap();
        assert!(!fixture.ledger.begin_run("org", "", "x", 3).unwrap().unclean);
        assert_eq!(fixture.ledger.latest(fixture.lane, 1).unwrap(), None);
    }

    #[test]
    fn two_targets_refuse_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let first = Ledger::open(folder.path()).unwrap();
        let second = Ledger::open(folder.path()).map(|_| ()).unwrap_err();
        assert!(matches!(second, LedgerError::Locked { .. }), "{second}");
        drop(first);
        assert!(Ledger::open(folder.path()).is_ok());
    }
}
