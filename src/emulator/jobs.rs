//! Bulk jobs and uploaded files of one organisation, and when jobs wait, run and end.
//!
//! A job's times are fixed when it is created, from the time of creation and the jobs before it
//! ([`Schedule`]); its state at any later moment follows from them and the emulator's clock. The work
//! itself is done once the start has passed: by a task that wakes then, or by the next call that
//! comes in, whichever is first ([`run_due`]). So a clock that tests move needs no waiting.

use super::api::bulk_read::{PageToken, ReadJob};
use super::api::bulk_write::WriteJob;
use super::api::bulk_write::archive::Upload;
use super::faults::Kind;
use super::state::{App, AppState, CallParts, Org};
use super::value::Id;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The jobs of an organisation.
#[derive(Debug, Default)]
pub struct Jobs {
    /// Bulk read jobs by id.
    pub reads: BTreeMap<Id, Arc<ReadJob>>,
    /// Where bulk read jobs run.
    pub read_schedule: Schedule,
    /// Tokens that finished bulk read jobs gave out.
    pub read_tokens: HashMap<String, PageToken>,
    /// Bulk write jobs by id.
    pub writes: BTreeMap<Id, Arc<WriteJob>>,
    /// Where bulk write jobs run.
    pub write_schedule: Schedule,
    /// Files for bulk write by id, with the time they were uploaded.
    pub uploads: HashMap<String, (i64, Arc<Upload>)>,
    waiting: Vec<(i64, Work)>,
}

/// A job whose work is still to be done.
#[derive(Debug, Clone)]
pub enum Work {
    /// Rows to read.
    Read(Arc<ReadJob>),
    /// Rows to write.
    Write(Arc<WriteJob>),
}

impl Work {
    fn run(&self, app: &App, org: &Org) {
        match self {
            Self::Read(job) => job.run(app, org),
            Self::Write(job) => job.run(app, org),
        }
    }
}

impl Jobs {
    /// What the jobs of both kinds asked of the server up to `now`.
    pub fn to_json(&self, now: i64) -> Json {
        json!({"read": self.read_schedule.load(now).to_json(), "write": self.write_schedule.load(now).to_json()})
    }

    /// Adds work to be done at a time, in milliseconds since 1970.
    pub fn enqueue(&mut self, starts: i64, work: Work) {
        self.waiting.push((starts, work));
    }

    /// Takes the work that has waited longest, if its time has come.
    fn take_due(&mut self, now: i64) -> Option<Work> {
        let due = self.waiting.iter().enumerate().filter(|(_, (starts, _))| *starts <= now);
        let (at, _) = due.min_by_key(|(_, (starts, _))| *starts)?;
        Some(self.waiting.remove(at).1)
    }
}

/// Does all work whose time has come, oldest first, off the async threads.
pub async fn run_due(app: &AppState, org: &Arc<Org>) {
    loop {
        let Some(work) = org.jobs().take_due(app.clock.now_ms()) else { return };
        let (app, org) = (Arc::clone(app), Arc::clone(org));
        // A panic in a job is reported by the runtime; its job stays in progress.
        let _ = tokio::task::spawn_blocking(move || work.run(&app, &org)).await;
    }
}

/// Wakes after `delay_ms` of real time and does what is due by then.
pub fn run_later(app: &AppState, org: &Arc<Org>, delay_ms: i64) {
    let (app, org) = (Arc::clone(app), Arc::clone(org));
    let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or_default());
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        run_due(&app, &org).await;
    });
}

/// How long jobs take, on the emulator's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobTimes {
    /// Milliseconds in state ADDED before the job counts as queued.
    pub added_ms: i64,
    /// Milliseconds from the start of the work to its end.
    pub run_ms: i64,
    /// Jobs that run side by side; the others wait in the order of their creation.
    ///
    /// Zoho was measured to run an organisation's jobs about one after another.
    pub side_by_side: usize,
}

impl JobTimes {
    /// The times of a job that this call creates: a fifth of a job's time before it is queued, the
    /// rest for its work. A `late_job` fault lengthens the first part.
    pub fn of(call: &CallParts, side_by_side: u32) -> Self {
        let (total_ms, late) = (call.app.job_ms, call.fired.get(Kind::LateJob));
        let late_ms = late.map_or(0, |late| late.milliseconds.unwrap_or(60_000));
        let added_ms = total_ms / 5 + i64::try_from(late_ms).unwrap_or_default();
        Self { added_ms, run_ms: total_ms - total_ms / 5, side_by_side: side_by_side as usize }
    }
}

/// The times of one job, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// End of state ADDED.
    pub queued: i64,
    /// The work starts: the moment whose data a bulk read returns.
    pub starts: i64,
    /// The work is done.
    pub ends: i64,
}

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Just created.
    Added,
    /// Waits for others.
    Queued,
    /// Runs.
    Running,
    /// Has ended, well or not.
    Ended,
}

impl Slot {
    /// What the job is doing at `now`.
    pub fn phase(&self, now: i64) -> Phase {
        match now {
            now if now >= self.ends => Phase::Ended,
            now if now >= self.starts => Phase::Running,
            now if now >= self.queued => Phase::Queued,
            _ => Phase::Added,
        }
    }
}

/// The places at which jobs run.
#[derive(Debug, Default)]
pub struct Schedule {
    /// When each place is free again.
    free_at: Vec<i64>,
    /// Start and end of every job that was admitted.
    slots: Vec<(i64, i64)>,
}

/// What jobs asked of the server, in milliseconds of the emulator's clock.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that were created.
    pub jobs: usize,
    /// Time during which at least one of them ran.
    pub busy_ms: i64,
    /// Time that they ran, added up.
    pub work_ms: i64,
    /// Most that ran side by side.
    pub peak: usize,
}

impl Load {
    fn to_json(&self) -> Json {
        json!({"jobs": self.jobs, "busy_ms": self.busy_ms, "work_ms": self.work_ms, "peak": self.peak})
    }
}

impl Schedule {
    /// Gives a job created at `now` the place that is free first.
    pub fn admit(&mut self, now: i64, times: JobTimes) -> Slot {
        self.free_at.resize(times.side_by_side.max(1), i64::MIN);
        let queued = now + times.added_ms.max(0);
        let place = self.free_at.iter_mut().min().expect("there is at least one place");
        let starts = queued.max(*place);
        let ends = starts + times.run_ms.max(0);
        *place = ends;
        self.slots.push((starts, ends));
        Slot { queued, starts, ends }
    }

    /// What the jobs asked of the server up to `now`.
    pub fn load(&self, now: i64) -> Load {
        let mut begun: Vec<(i64, i64)> =
            self.slots.iter().filter(|(starts, _)| *starts <= now).copied().collect();
        begun.sort_unstable();
        let mut load = Load { jobs: self.slots.len(), ..Load::default() };
        let mut covered = i64::MIN;
        for (starts, ends) in &begun {
            let ends = (*ends).min(now);
            load.work_ms += ends - starts;
            load.busy_ms += (ends - (*starts).max(covered)).max(0);
            covered = covered.max(ends);
            let running = begun.iter().take_while(|(other, _)| other <= starts);
            load.peak = load.peak.max(running.filter(|(_, end)| end > starts).count());
        }
        load
    }

    /// Forgets what was asked; running jobs keep their places.
    pub fn forget_load(&mut self) {
        self.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: JobTimes = JobTimes { added_ms: 10, run_ms: 100, side_by_side: 2 };

    #[test]
    fn passes_through_all_states() {
        let slot = Schedule::default().admit(1_000, TIMES);
        let phases = [1_000, 1_010, 1_109, 1_110].map(|now| slot.phase(now));
        assert_eq!(phases, [Phase::Added, Phase::Running, Phase::Running, Phase::Ended]);
    }

    #[test]
    fn the_third_job_waits_for_the_first() {
        let mut schedule = Schedule::default();
        let first = schedule.admit(0, TIMES);
        let second = schedule.admit(5, TIMES);
        let third = schedule.admit(6, TIMES);
        assert_eq!((first.starts, second.starts, third.starts), (10, 15, first.ends));
        assert_eq!(third.phase(50), Phase::Queued);
        // 10 to 110 and 15 to 115 side by side, then 110 to 210.
        let load = Load { jobs: 3, busy_ms: 200, work_ms: 300, peak: 2 };
        assert_eq!(schedule.load(1_000), load);
        assert_eq!(schedule.load(60), Load { busy_ms: 50, work_ms: 95, ..load });
        // Much later every place is free again.
        assert_eq!(schedule.admit(9_000, TIMES).starts, 9_010);
    }
}
