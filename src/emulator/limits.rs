//! What an organisation may use: credits, open calls, downloads. Counted even when not enforced.
//!
//! Figures follow section "Credits, concurrency, throttling" of the API reference.

use super::directory::Edition;
use serde::Deserialize;
use std::collections::VecDeque;
use std::sync::Mutex;

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

/// Calls of the heavy kinds that may be open at once, in every edition.
pub const SUB_POOL: usize = 10;

/// Which limits apply; everything is on and follows the edition unless set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Credits in a rolling 24 hours; the edition's figure when absent.
    pub daily_credits: Option<u64>,
    /// Calls open at once; the edition's figure when absent.
    pub concurrency: Option<usize>,
    /// Heavy calls open at once.
    pub sub_concurrency: usize,
    /// Bulk read downloads per minute.
    pub downloads_per_minute: usize,
    /// Access tokens that one refresh token may fetch in ten minutes.
    pub token_mints: usize,
    /// Switches every limit above off.
    pub off: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            daily_credits: None,
            concurrency: None,
            sub_concurrency: SUB_POOL,
            downloads_per_minute: 10,
            token_mints: 10,
            off: false,
        }
    }
}

/// The counters of one organisation.
#[derive(Debug)]
pub struct Meter {
    limits: Limits,
    daily_credits: u64,
    pool: usize,
    usage: Mutex<Usage>,
}

/// What was used so far.
#[derive(Debug, Default, Clone)]
pub struct Usage {
    /// Credits since the start, never forgotten.
    pub credits_total: u64,
    /// Most calls that were open at once.
    pub peak: usize,
    /// Most heavy calls that were open at once.
    pub sub_peak: usize,
    /// Calls refused with 429.
    pub refused: u64,
    open: usize,
    sub_open: usize,
    in_window: u64,
    window: VecDeque<(i64, u64)>,
    downloads: VecDeque<i64>,
}

impl Meter {
    /// Counters for an edition with that many users.
    pub fn new(limits: Limits, edition: Edition, users: u64) -> Self {
        let daily_credits = limits.daily_credits.unwrap_or_else(|| edition.daily_credits(users));
        let pool = limits.concurrency.unwrap_or_else(|| edition.concurrency());
        Self { limits, daily_credits, pool, usage: Mutex::new(Usage::default()) }
    }

    /// The figures so far.
    pub fn usage(&self) -> Usage {
        self.lock().clone()
    }

    /// Starts the peaks and the count of refusals and credits anew; what limits use stays.
    pub fn forget_peaks(&self) {
        let mut usage = self.lock();
        (usage.peak, usage.sub_peak) = (usage.open, usage.sub_open);
        (usage.refused, usage.credits_total) = (0, 0);
    }

    /// How many token mints are allowed in ten minutes; `None` when nothing is enforced.
    pub fn token_mints(&self) -> Option<usize> {
        (!self.limits.off).then_some(self.limits.token_mints)
    }

    /// Opens a call; false when too many are open already.
    pub fn open(&self) -> bool {
        let mut usage = self.lock();
        if usage.open >= self.pool && !self.limits.off {
            usage.refused += 1;
            return false;
        }
        usage.open += 1;
        usage.peak = usage.peak.max(usage.open);
        true
    }

    /// Opens a heavy call within an open one; false when too many are open already.
    pub fn open_heavy(&self) -> bool {
        let mut usage = self.lock();
        if usage.sub_open >= self.limits.sub_concurrency && !self.limits.off {
            usage.refused += 1;
            return false;
        }
        usage.sub_open += 1;
        usage.sub_peak = usage.sub_peak.max(usage.sub_open);
        true
    }

    /// Ends a call.
    pub fn close(&self, heavy: bool) {
        let mut usage = self.lock();
        usage.open = usage.open.saturating_sub(1);
        if heavy {
            usage.sub_open = usage.sub_open.saturating_sub(1);
        }
    }

    /// Takes credits; false when they do not reach.
    pub fn charge(&self, credits: u64, now_ms: i64) -> bool {
        let mut usage = self.lock();
        usage.forget(now_ms);
        if usage.in_window + credits > self.daily_credits && !self.limits.off {
            usage.refused += 1;
            return false;
        }
        usage.credits_total += credits;
        usage.in_window += credits;
        // One entry a second keeps a busy day small.
        match usage.window.back_mut() {
            Some((at, taken)) if *at / 1_000 == now_ms / 1_000 => *taken += credits,
            _ => usage.window.push_back((now_ms, credits)),
        }
        true
    }

    /// What is left, once half of the day's credits are gone: only then does Zoho tell.
    pub fn remaining_to_tell(&self, now_ms: i64) -> Option<u64> {
        let mut usage = self.lock();
        usage.forget(now_ms);
        (usage.in_window * 2 >= self.daily_credits)
            .then(|| self.daily_credits.saturating_sub(usage.in_window))
    }

    /// Counts a bulk read download; false when there were too many in the last minute.
    pub fn download(&self, now_ms: i64) -> bool {
        let mut usage = self.lock();
        while usage.downloads.front().is_some_and(|at| now_ms - at >= MINUTE_MS) {
            usage.downloads.pop_front();
        }
        if usage.downloads.len() >= self.limits.downloads_per_minute && !self.limits.off {
            usage.refused += 1;
            return false;
        }
        usage.downloads.push_back(now_ms);
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Usage> {
        self.usage.lock().expect("no code panics while it holds the counters")
    }
}

impl Usage {
    fn forget(&mut self, now_ms: i64) {
        while let Some((at, credits)) = self.window.front().copied()
            && now_ms - at >= DAY_MS
        {
            self.in_window -= credits;
            self.window.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limits: Limits) -> Meter {
        Meter::new(limits, Edition::Enterprise, 10)
    }

    #[test]
    fn credits_come_back_after_a_day() {
        let meter = meter(Limits { daily_credits: Some(10), ..Limits::default() });
        assert!(meter.charge(4, 0));
        assert_eq!(meter.remaining_to_tell(0), None);
        assert!(meter.charge(6, 5_000) && !meter.charge(1, 6_000));
        assert_eq!(meter.remaining_to_tell(6_000), Some(0));
        assert!(meter.charge(4, DAY_MS) && !meter.charge(1, DAY_MS));
        assert_eq!(meter.usage().credits_total, 14);
    }

    #[test]
    fn pools_are_counted_and_kept() {
        let limits = Limits { concurrency: Some(2), sub_concurrency: 1, ..Limits::default() };
        let meter = meter(limits);
        assert!(meter.open() && meter.open() && !meter.open());
        assert!(meter.open_heavy() && !meter.open_heavy());
        meter.close(true);
        assert!(meter.open() && meter.open_heavy());
        assert_eq!((meter.usage().peak, meter.usage().sub_peak, meter.usage().refused), (2, 1, 2));
    }

    #[test]
    fn downloads_wait_for_the_minute() {
        let meter = meter(Limits { downloads_per_minute: 2, ..Limits::default() });
        assert!(meter.download(0) && meter.download(1) && !meter.download(59_999));
        assert!(meter.download(60_000));
    }
}
