//! When credits were spent, over the last 24 hours and over all runs that share a state folder.
//!
//! Zoho counts credits over a rolling day: each frees exactly 24 hours after its use, and what is left
//! is told only once half is used ("API Limits"). So what we know by ourselves is kept: one file an
//! hour, to which every process appends `minute credits`. What other programs of the organisation
//! spend does not show here.

use super::auth::Clock;
use super::private_file::{make_folder, private};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

const DAY_MINUTES: i64 = 24 * 60;
/// Credits that may be lost to the files when a process is killed.
const FLUSH_AT: u64 = 50;
/// How long a count over the files is good, besides our own part. Unit: minutes.
const COUNT_LIFE: i64 = 1;

/// The account book of the last day.
pub(super) struct Spending {
    folder: PathBuf,
    clock: Clock,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Ours, not in a file yet, by minutes since 1970. Negative: refunds.
    pending: BTreeMap<i64, i64>,
    /// Sum over the last day and the minute in which it was counted; ours are added as they come.
    counted: Option<(i64, u64)>,
}

impl Spending {
    /// The book that is kept in a folder; nothing is read or written yet.
    pub(super) fn new(folder: PathBuf, clock: Clock) -> Self {
        Self { folder, clock, book: Mutex::default() }
    }

    /// Notes credits as spent now.
    pub(super) fn spend(&self, credits: u64) {
        self.note(i64::try_from(credits).unwrap_or(i64::MAX));
    }

    /// Notes that credits were not spent after all.
    pub(super) fn refund(&self, credits: u64) {
        self.note(-i64::try_from(credits).unwrap_or(i64::MAX));
    }

    /// Credits that were spent during the last 24 hours, as far as is known.
    pub(super) fn last_day(&self) -> u64 {
        let now = self.minute();
        let mut book = self.lock();
        if let Some((at, credits)) = book.counted.filter(|(at, _)| now - at <= COUNT_LIFE) {
            let ours = book.pending.range(at..).map(|(_, credits)| credits).sum::<i64>();
            return credits.saturating_add_signed(ours);
        }
        self.flush(&mut book);
        let credits = self.minutes(now).values().sum::<i64>().max(0).unsigned_abs();
        // What is spent in this minute may be in both; better too much than too little.
        book.counted = Some((now, credits));
        credits
    }

    /// When so many credits of ours will have freed; none when we did not spend that many.
    pub(super) fn frees(&self, credits: u64) -> Option<DateTime<Utc>> {
        let now = self.minute();
        self.flush(&mut self.lock());
        let mut freed = 0;
        let enough = self.minutes(now).into_iter().find(|(_, spent)| {
            freed += *spent;
            freed >= i64::try_from(credits).unwrap_or(i64::MAX)
        });
        // Anywhere within its minute: the next one is safe.
        enough.and_then(|(minute, _)| DateTime::from_timestamp((minute + DAY_MINUTES + 1) * 60, 0))
    }

    fn note(&self, credits: i64) {
        if credits == 0 {
            return;
        }
        let now = self.minute();
        let mut book = self.lock();
        *book.pending.entry(now).or_default() += credits;
        if book.pending.values().sum::<i64>().unsigned_abs() >= FLUSH_AT {
            self.flush(&mut book);
        }
    }

    /// Every minute of the last day in which something was spent, from the files.
    fn minutes(&self, now: i64) -> BTreeMap<i64, i64> {
        let mut minutes = BTreeMap::new();
        for hour in (now - DAY_MINUTES) / 60..=now / 60 {
            let text = std::fs::read_to_string(self.folder.join(hour.to_string())).unwrap_or_default();
            // A line that is not understood was cut off, or is none of ours.
            let lines = text.lines().filter_map(|line| line.split_once(' '));
            let entries = lines.filter_map(|(minute, credits)| {
                Some((minute.parse::<i64>().ok()?, credits.parse::<i64>().ok()?))
            });
            for (minute, credits) in entries.filter(|(minute, _)| now - minute < DAY_MINUTES) {
                *minutes.entry(minute).or_default() += credits;
            }
        }
        minutes
    }

    /// Appends what is pending; short appends of several processes do not mix.
    fn flush(&self, book: &mut Book) {
        let pending = std::mem::take(&mut book.pending);
        if let (Some((at, credits)), true) = (book.counted, !pending.is_empty()) {
            let ours = pending.range(at..).map(|(_, credits)| credits).sum::<i64>();
            book.counted = Some((at, credits.saturating_add_signed(ours)));
        }
        for (minute, credits) in pending {
            let path = self.folder.join((minute / 60).to_string());
            let is_new = !path.exists();
            let written = make_folder(&self.folder)
                .and_then(|()| private(OpenOptions::new().create(true).append(true)).open(&path))
                .and_then(|mut file| file.write_all(format!("{minute} {credits}\n").as_bytes()));
            if let Err(error) = written {
                tracing::debug!(path = %path.display(), %error, "the credits of this minute are not noted");
            }
            if is_new {
                self.forget_before(minute / 60 - 25);
            }
        }
    }

    fn forget_before(&self, hour: i64) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let old = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
            if old.is_some_and(|old| old < hour) {
                std::fs::remove_file(entry.path()).ok();
            }
        }
    }

    fn minute(&self) -> i64 {
        (self.clock)().timestamp().div_euclid(60)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        self.flush(&mut self.lock());
    }
}

#[cfg(test)]
mod tests {
    use super::Spending;
    use chrono::DateTime;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    struct Tested {
        folder: tempfile::TempDir,
        seconds: Arc<AtomicI64>,
    }

    impl Tested {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            Self { folder, seconds: Arc::new(AtomicI64::new(1_800_000_000)) }
        }

        fn open(&self) -> Spending {
            let seconds = Arc::clone(&self.seconds);
            let clock = move || {
                DateTime::from_timestamp(seconds.load(Ordering::Relaxed), 0).expect("a time in range")
            };
            Spending::new(self.folder.path().join("credits"), Arc::new(clock))
        }

        fn later(&self, seconds: i64) {
            self.seconds.fetch_add(seconds, Ordering::Relaxed);
        }
    }

    #[test]
    fn runs_add_up_and_a_day_later_all_is_free() {
        let tested = Tested::new();
        let first = tested.open();
        first.spend(60);
        first.spend(2);
        first.refund(1);
        drop(first);
        tested.later(3_600);
        let second = tested.open();
        assert_eq!(second.last_day(), 61);
        second.spend(7);
        assert_eq!(second.last_day(), 68);
        tested.later(23 * 3_600 + 60);
        assert_eq!(second.last_day(), 7);
        tested.later(3_600);
        assert_eq!(second.last_day(), 0);
    }

    #[test]
    fn the_time_that_frees_enough_is_told() {
        let tested = Tested::new();
        let spending = tested.open();
        spending.spend(10);
        tested.later(600);
        spending.spend(100);
        let minutes_from_start =
            |credits| spending.frees(credits).map(|time| (time.timestamp() - 1_800_000_000) / 60);
        assert_eq!(minutes_from_start(10), Some(1_441));
        assert_eq!(minutes_from_start(11), Some(1_451));
        assert_eq!(minutes_from_start(111), None);
    }

    #[test]
    fn damaged_lines_and_a_folder_that_cannot_be_made_harm_nobody() {
        let tested = Tested::new();
        let spending = tested.open();
        spending.spend(60);
        let hour = tested.folder.path().join("credits").join((1_800_000_000 / 3_600).to_string());
        let text = std::fs::read_to_string(&hour).expect("is there");
        std::fs::write(&hour, format!("{text}nonsense\n30000000 ")).expect("writes");
        assert_eq!(spending.last_day(), 60);
        let nowhere = Spending::new("/proc/nowhere".into(), Arc::new(chrono::Utc::now));
        nowhere.spend(60);
        assert_eq!(nowhere.last_day(), 0);
    }
}
