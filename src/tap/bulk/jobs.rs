//! Waits for bulk jobs: any number of them, of all streams, by one timer.
//!
//! Each job is polled at 60 ms first, then at intervals that double up to 30 s. Polls cost a credit,
//! and what a poll can tell depends on the other jobs, because Zoho runs an organisation's jobs about
//! in the order in which they were created. So a job behind one that still waits is left alone, the
//! next in line is looked at when one of ours ends, and how long the last ones ran tells when the
//! end of a running one is near. Follows Zoho's page "Bulk Read", section status.

use crate::zoho::api::bulk_read::{BulkReadJob, BulkReadResult};
use crate::zoho::api::{JobFailure, JobState};
use crate::zoho::types::JobId;
use crate::zoho::{self, Client};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Polls begin at this interval and double to [`LONGEST_POLL`]. Doubled, it comes to 3.84 s: a job of 3.5 s,
/// as one was measured for 28,000 rows ("Bulk Read", Status), is seen right after its end.
const FIRST_POLL: Duration = Duration::from_millis(60);
const LONGEST_POLL: Duration = Duration::from_secs(30);

/// How a job ended.
#[derive(Debug)]
pub(in crate::tap) enum Ended {
    /// Its result can be fetched.
    Done(BulkReadResult),
    /// Zoho gave up on it.
    Failed(JobFailure),
    /// The server does not know it (any more).
    Gone,
}

/// How far an unfinished job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tap) enum Phase {
    /// It has not begun: a queued job is not a failed one.
    Waiting,
    /// It is being worked on.
    Running,
}

/// The handle by which streams hand over their jobs.
#[derive(Clone)]
pub(in crate::tap) struct Jobs(mpsc::UnboundedSender<Watch>);

/// A job that somebody waits for.
struct Watch {
    id: JobId,
    is_new: bool,
    doing: Box<dyn Fn(Phase) + Send>,
    tell: oneshot::Sender<Result<Ended, zoho::Error>>,
}

impl Jobs {
    /// Starts the timer; it ends with the last handle.
    pub fn new(client: Client) -> Self {
        let (ask, asked) = mpsc::unbounded_channel();
        tokio::spawn(attend(client, asked));
        Self(ask)
    }

    /// Waits until a job ends. One that `is_new` was created just now: it is given time; one that an
    /// earlier run left behind is looked at right away.
    ///
    /// # Errors
    /// When a poll fails for good.
    pub async fn ended(
        &self,
        id: JobId,
        is_new: bool,
        doing: impl Fn(Phase) + Send + 'static,
    ) -> Result<Ended, zoho::Error> {
        let (tell, told) = oneshot::channel();
        let watch = Watch { id, is_new, doing: Box::new(doing), tell };
        self.0.send(watch).unwrap_or_else(|_| unreachable!("the timer ends after its last handle"));
        told.await.unwrap_or_else(|_| unreachable!("the timer answers every watch it takes"))
    }
}

/// The timer: looks at each job when the timetable says so, many at once.
async fn attend(client: Client, mut asked: mpsc::UnboundedReceiver<Watch>) {
    let mut table = Timetable::default();
    let mut watches: HashMap<u64, Watch> = HashMap::new();
    let mut polls: JoinSet<(u64, Result<BulkReadJob, zoho::Error>)> = JoinSet::new();
    loop {
        while let Some(job) = table.take_due(Instant::now()) {
            match watches.get(&job) {
                Some(watch) if !watch.tell.is_closed() => {
                    let (client, id) = (client.clone(), watch.id.clone());
                    polls.spawn(async move { (job, client.bulk_read_status(&id).await) });
                }
                // Nobody waits for it any more.
                _ => {
                    watches.remove(&job);
                    table.forget(job, Instant::now());
                }
            }
        }
        let next = table.next_due();
        tokio::select! {
            watch = asked.recv() => match watch {
                Some(watch) => {
                    let job = table.add(Instant::now(), watch.is_new);
                    watches.insert(job, watch);
                }
                None => return,
            },
            Some(Ok((job, answer))) = polls.join_next() => {
                if let Some(watch) = watches.remove(&job)
                    && let Some(watch) = judge(&mut table, job, watch, answer)
                {
                    watches.insert(job, watch);
                }
            }
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// Passes on what a poll said; answers the watch again if the job goes on.
fn judge(
    table: &mut Timetable,
    job: u64,
    watch: Watch,
    answer: Result<BulkReadJob, zoho::Error>,
) -> Option<Watch> {
    let now = Instant::now();
    let told = match answer {
        Err(error) if is_gone(&error) => Ok(Ended::Gone),
        Err(error) => Err(error),
        Ok(BulkReadJob { state, result }) => match (state, result) {
            (JobState::Completed, Some(result)) => Ok(Ended::Done(result)),
            (JobState::Failure(failure), _) => Ok(Ended::Failed(failure)),
            (state, _) => {
                let waits = matches!(state, JobState::Added | JobState::Queued);
                let phase = if waits { Phase::Waiting } else { Phase::Running };
                table.seen(job, now, phase);
                (watch.doing)(phase);
                return Some(watch);
            }
        },
    };
    match &told {
        Ok(Ended::Done(_) | Ended::Failed(_)) => table.ended(job, now),
        _ => table.forget(job, now),
    }
    // Whoever waited may have been told to stop meanwhile.
    let _ = watch.tell.send(told);
    None
}

/// Whether an answer says that a job or its result is no longer kept.
pub(in crate::tap) fn is_gone(error: &zoho::Error) -> bool {
    error.status() == Some(404) || matches!(error.code(), Some("RESOURCE_NOT_FOUND" | "EXPIRED_VALUE"))
}

/// When each job is looked at next. Jobs are numbered in the order of their creation.
#[derive(Debug, Default)]
struct Timetable {
    jobs: BTreeMap<u64, Entry>,
    next: u64,
    /// How long the last jobs ran, as far as we saw.
    run_time: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    /// When it was next in line, or began to run, as far as we know.
    since: Option<Instant>,
    interval: Duration,
    /// None while a poll is under way.
    due: Option<Instant>,
}

impl Timetable {
    fn add(&mut self, now: Instant, is_new: bool) -> u64 {
        let job = self.next;
        self.next += 1;
        let wait = match (is_new, self.is_behind(job)) {
            (false, _) => Duration::ZERO,
            (true, false) => FIRST_POLL,
            (true, true) => LONGEST_POLL,
        };
        let entry = Entry { phase: Phase::Waiting, since: None, interval: FIRST_POLL, due: Some(now + wait) };
        self.jobs.insert(job, entry);
        job
    }

    fn next_due(&self) -> Option<Instant> {
        self.jobs.values().filter_map(|entry| entry.due).min()
    }

    /// A job whose time has come; it is not due again until somebody says what was seen.
    fn take_due(&mut self, now: Instant) -> Option<u64> {
        let due = self.jobs.iter_mut().find(|(_, entry)| entry.due.is_some_and(|due| due <= now));
        due.map(|(job, entry)| {
            entry.due = None;
            *job
        })
    }

    /// Whether an older job of ours still waits.
    fn is_behind(&self, job: u64) -> bool {
        self.jobs.range(..job).any(|(_, entry)| entry.phase == Phase::Waiting)
    }

    /// A poll found the job unfinished.
    fn seen(&mut self, job: u64, now: Instant, phase: Phase) {
        let is_behind = self.is_behind(job);
        let others_run =
            self.jobs.iter().any(|(other, entry)| *other != job && entry.phase == Phase::Running);
        let run_time = self.run_time;
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        let began = phase == Phase::Running && entry.phase == Phase::Waiting;
        entry.phase = phase;
        let wait = match phase {
            Phase::Running => {
                if began {
                    entry.interval = FIRST_POLL;
                }
                entry.while_running(now, run_time)
            }
            Phase::Waiting if is_behind => LONGEST_POLL,
            Phase::Waiting => {
                entry.since = None;
                // Nothing but the end of another job can let it begin.
                let floor = run_time.filter(|_| others_run).map_or(FIRST_POLL, |time| time / 2);
                entry.step(floor)
            }
        };
        entry.due = Some(now + wait.min(LONGEST_POLL));
        if began {
            self.wake_next(now, false);
        }
    }

    /// The job has ended; the one behind it may run now.
    fn ended(&mut self, job: u64, now: Instant) {
        if let Some(since) = self.jobs.remove(&job).and_then(|entry| entry.since) {
            let ran = now - since;
            self.run_time = Some(self.run_time.map_or(ran, |before| (before + ran) / 2));
        }
        self.wake_next(now, true);
    }

    /// The job is nobody's any more.
    fn forget(&mut self, job: u64, now: Instant) {
        self.jobs.remove(&job);
        self.wake_next(now, false);
    }

    /// Has the next job in line looked at right away. If one of ours just ended, it probably took
    /// that one's place.
    fn wake_next(&mut self, now: Instant, took_place: bool) {
        let waiting = self.jobs.values_mut().find(|entry| entry.phase == Phase::Waiting);
        if let Some(entry) = waiting {
            entry.interval = FIRST_POLL;
            entry.since = took_place.then_some(now);
            entry.due = entry.due.map(|due| due.min(now));
        }
    }
}

impl Entry {
    /// The next interval, at least `floor`.
    fn step(&mut self, floor: Duration) -> Duration {
        let wait = self.interval.max(floor);
        self.interval = (wait * 2).min(LONGEST_POLL);
        wait
    }

    /// Up to the expected end in eighths of it that double; behind it, again from a sixteenth.
    fn while_running(&mut self, now: Instant, run_time: Option<Duration>) -> Duration {
        let since = *self.since.get_or_insert(now);
        let Some(run_time) = run_time else { return self.step(FIRST_POLL) };
        let left = (since + run_time).saturating_duration_since(now);
        if left.is_zero() {
            if self.interval > run_time / 4 {
                self.interval = FIRST_POLL;
            }
            return self.step(run_time / 16);
        }
        self.step(run_time / 8).min(left.max(FIRST_POLL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jobs of a server that runs so many side by side in the order of creation; answers when the last
    /// end was seen, when it really was, and how many polls it took.
    fn simulate(run_ms: &[u64], side_by_side: usize) -> (Duration, Duration, usize) {
        let start = Instant::now();
        let mut free = vec![start + Duration::from_secs(1); side_by_side];
        let slots: Vec<(Instant, Instant)> = run_ms
            .iter()
            .map(|ms| {
                let place = free.iter_mut().min().expect("a place");
                let begins = *place;
                *place = begins + Duration::from_millis(*ms);
                (begins, *place)
            })
            .collect();
        let mut table = Timetable::default();
        for _ in run_ms {
            table.add(start, true);
        }
        let (mut now, mut polls) = (start, 0);
        while let Some(due) = table.next_due() {
            now = now.max(due);
            while let Some(job) = table.take_due(now) {
                polls += 1;
                let (begins, ends) = slots[job as usize];
                match now {
                    now if now >= ends => table.ended(job, now),
                    now if now >= begins => table.seen(job, now, Phase::Running),
                    now => table.seen(job, now, Phase::Waiting),
                }
            }
        }
        let last = slots.iter().map(|(_, ends)| *ends).max().expect("a job");
        (now - start, last - start, polls)
    }

    #[test]
    fn the_last_of_many_jobs_is_seen_soon_after_its_end() {
        let alike = vec![4_000; 10];
        let mixed: Vec<u64> = (0..20).map(|job| 500 + job * 7_919 % 6_000).collect();
        for (jobs, side_by_side) in [(&alike, 1), (&alike, 2), (&alike, 4), (&mixed, 1), (&mixed, 4)] {
            let (seen, was, polls) = simulate(jobs, side_by_side);
            assert!(seen <= was.mul_f64(1.1), "{seen:?} for {was:?}, {side_by_side} side by side");
            assert!(polls <= jobs.len() * 11, "{polls} polls for {} jobs", jobs.len());
        }
    }

    #[test]
    fn one_job_alone_is_polled_at_intervals_that_double() {
        let now = Instant::now();
        let mut table = Timetable::default();
        let job = table.add(now, true);
        let mut at = Vec::new();
        while at.len() < 12 {
            let due = table.next_due().expect("is due");
            at.push((due - now).as_millis());
            assert_eq!(table.take_due(due), Some(job));
            table.seen(job, due, Phase::Waiting);
        }
        assert_eq!(at[..7], [60, 120, 240, 480, 960, 1_920, 3_840]);
        assert_eq!(at[11] - at[10], 30_000);
    }

    #[test]
    fn a_job_behind_one_that_waits_is_left_alone_until_that_one_begins() {
        let now = Instant::now();
        let mut table = Timetable::default();
        let (first, second) = (table.add(now, true), table.add(now, true));
        let soon = now + FIRST_POLL;
        assert_eq!((table.take_due(soon), table.take_due(soon)), (Some(first), None));
        table.seen(first, soon, Phase::Running);
        assert_eq!(table.take_due(soon), Some(second));
        // What an earlier run left behind may have ended long ago.
        let old = table.add(soon, false);
        assert_eq!(table.take_due(soon), Some(old));
    }
}
