//! What calls cost, what may be spent, and how many may be open at once.
//!
//! Follows the page "API Limits" (credits, concurrency, sub-concurrency). Counts are of what this
//! process did; the organisation's other programs show only through the server's headers and
//! refusals.

use super::config::CreditLimits;
use super::error::{Error, ErrorKind};
use super::spending::Spending;
use super::transport::Answer;
use super::types::Method;
use chrono::SecondsFormat;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Credits of an ordinary call. Source: "API Limits".
pub const CALL: u64 = 1;
/// Credits of a page of deleted records. Source: "API Limits" of v8.
pub const DELETED_PAGE: u64 = 2;
/// Credits of creating a bulk read job. Source: "API Limits" of v8.
pub const BULK_READ_JOB: u64 = 50;
/// Credits of creating a bulk write job. Source: "API Limits" of v8.
pub const BULK_WRITE_JOB: u64 = 500;
/// Simultaneous heavy calls of any edition. Source: "API Limits, Sub-concurrency".
pub const SUB_POOL: usize = 10;

/// Credits of a COQL query with this LIMIT. Source: "Query API".
pub fn coql_price(limit: u32) -> u64 {
    match limit {
        0..=200 => 1,
        201..=1000 => 2,
        _ => 3,
    }
}

/// Credits of inserting, updating or upserting this many records. Source: "API Limits".
pub fn write_price(rows: usize) -> u64 {
    rows.div_ceil(10).max(1) as u64
}

/// Credits of deleting this many records; the sources do not confirm it.
pub fn delete_price(rows: usize) -> u64 {
    rows.div_ceil(100).max(1) as u64
}

/// Credits of a call known by verb and path only.
pub(super) fn price_of(method: Method, path: &str) -> u64 {
    let creates = method == Method::Post;
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((front, "read")) if creates && front.contains("/bulk/") => BULK_READ_JOB,
        Some((front, "write")) if creates && front.contains("/bulk/") => BULK_WRITE_JOB,
        Some((_, "deleted")) => DELETED_PAGE,
        _ => CALL,
    }
}

/// What credits are spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    /// Records in and out.
    Data,
    /// Modules, fields, organisation, users.
    Metadata,
    /// Asking how many records there are.
    Counts,
    /// Asking how far a bulk job is.
    Polls,
}

/// Credits by what they were spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Records in and out.
    pub data: u64,
    /// Modules, fields, organisation, users.
    pub metadata: u64,
    /// Asking how many records there are, to choose the cheapest way of reading them.
    pub counts: u64,
    /// Asking how far bulk jobs are.
    pub polls: u64,
}

impl Spent {
    /// All credits.
    pub fn total(self) -> u64 {
        self.data + self.metadata + self.counts + self.polls
    }

    fn of(&mut self, category: Category) -> &mut u64 {
        match category {
            Category::Data => &mut self.data,
            Category::Metadata => &mut self.metadata,
            Category::Counts => &mut self.counts,
            Category::Polls => &mut self.polls,
        }
    }
}

/// What a client has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls that reached the API, repeated ones included; token exchanges are not counted.
    pub calls: u64,
    /// Their price.
    pub credits: Spent,
    /// Bulk read jobs created.
    pub jobs: u64,
    /// Attempts beyond the first of a call.
    pub retries: u64,
    /// Refusals with 429.
    pub throttled: u64,
    /// Credits the organisation has left, when the server tells (from half of them used).
    pub remaining: Option<u64>,
    /// Credits of the organisation per 24 hours, once known.
    pub per_day: Option<u64>,
}

/// What may be spent, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Credits of the organisation per 24 hours, once known.
    pub per_day: Option<u64>,
    /// How many of them are left: as the server says, else less what this connector spent.
    pub left: Option<u64>,
    /// Whether the server said so; it does only once half of the day's credits are used.
    pub told: bool,
    /// What this connector spent in the last 24 hours, in all runs that share `state_dir`.
    pub spent_last_day: u64,
    /// How many are kept for the organisation's other programs.
    pub reserve: u64,
    /// The cap of one run; none: no cap.
    pub cap: Option<u64>,
}

impl Allowance {
    /// Credits that a run may spend; none when nothing is known.
    pub fn spendable(&self) -> Option<u64> {
        let of_day = self.left.map(|left| left.saturating_sub(self.reserve));
        of_day.into_iter().chain(self.cap).min()
    }
}

/// The account book of one client.
pub(super) struct Budget {
    limits: CreditLimits,
    usage: Mutex<Usage>,
    spending: Spending,
}

impl Budget {
    pub(super) fn new(limits: CreditLimits, spending: Spending) -> Self {
        let usage = Usage { per_day: limits.per_day, ..Usage::default() };
        Self { limits, usage: Mutex::new(usage), spending }
    }

    pub(super) fn usage(&self) -> Usage {
        *lock(&self.usage)
    }

    pub(super) fn allowance(&self) -> Allowance {
        let usage = self.usage();
        let spent_last_day = self.spending.last_day();
        let left = usage.remaining.or(usage.per_day.map(|per_day| per_day.saturating_sub(spent_last_day)));
        Allowance {
            per_day: usage.per_day,
            left,
            told: usage.remaining.is_some(),
            spent_last_day,
            reserve: self.reserve(&usage),
            cap: self.limits.per_run,
        }
    }

    /// Takes note of what the organisation may spend, unless the settings know better.
    pub(super) fn learn_allowance(&self, per_day: Option<u64>) {
        let mut usage = lock(&self.usage);
        usage.per_day = self.limits.per_day.or(per_day);
    }

    fn reserve(&self, usage: &Usage) -> u64 {
        usage.per_day.unwrap_or(0) * u64::from(self.limits.reserve_percent) / 100
    }

    /// Charges a call before it is made.
    ///
    /// # Errors
    ///
    /// `Quota` when the cap of the run or the reserve would be touched; then nothing is charged.
    pub(super) fn charge(&self, category: Category, price: u64, again: bool) -> Result<(), Error> {
        let mut usage = lock(&self.usage);
        self.check_cap(&usage, price)?;
        self.check_reserve(&usage, price)?;
        usage.calls += 1;
        usage.retries += u64::from(again);
        *usage.credits.of(category) += price;
        usage.remaining = usage.remaining.map(|remaining| remaining.saturating_sub(price));
        self.spending.spend(price);
        Ok(())
    }

    fn check_cap(&self, usage: &Usage, price: u64) -> Result<(), Error> {
        let spent = usage.credits.total();
        let Some(cap) = self.limits.per_run.filter(|cap| price > 0 && spent + price > *cap) else {
            return Ok(());
        };
        let message = format!("the next call costs {price}, {spent} of at most {cap} for one run are spent");
        Err(Error::new(ErrorKind::Quota, message)
            .with_hint("raise `api_credits.per_run`, or run again: what is done stays done"))
    }

    /// The reserve is held against what the server says is left. While it says nothing, less than half
    /// of the day's credits are used; only for a larger reserve do we have to go by what we know.
    fn check_reserve(&self, usage: &Usage, price: u64) -> Result<(), Error> {
        let reserve = self.reserve(usage);
        let by_ourselves = || {
            let is_near = self.limits.reserve_percent > 50 && price > 0;
            let per_day = usage.per_day.filter(|_| is_near)?;
            Some(per_day.saturating_sub(self.spending.last_day()))
        };
        let left = usage.remaining.or_else(by_ourselves);
        let Some(left) = left.filter(|left| price > 0 && *left < price + reserve) else { return Ok(()) };
        let message = match reserve {
            0 => format!("the next call costs {price}, {left} are left"),
            _ => format!("the next call costs {price}, {left} are left, {reserve} of them kept in reserve"),
        };
        Err(Error::new(ErrorKind::Quota, message).with_hint(self.when_freed(price + reserve - left)))
    }

    /// Counts a bulk read job.
    pub(super) fn note_job(&self) {
        lock(&self.usage).jobs += 1;
    }

    /// When so many credits will be free again, in words.
    pub(super) fn when_freed(&self, credits: u64) -> String {
        let rule = "a credit frees exactly 24 hours after its use; `zoho-crm check` shows what is left";
        match self.spending.frees(credits.max(1)) {
            Some(time) => {
                let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
                format!("start again after {time}, when enough of what this connector spent is free; {rule}")
            }
            None => format!("other programs of the organisation spent them; {rule}"),
        }
    }

    /// Takes back the charge of a call that never reached the server.
    pub(super) fn refund(&self, category: Category, price: u64) {
        let mut usage = lock(&self.usage);
        usage.calls = usage.calls.saturating_sub(1);
        let account = usage.credits.of(category);
        *account = account.saturating_sub(price);
        usage.remaining = usage.remaining.map(|remaining| remaining + price);
        self.spending.refund(price);
    }

    /// Learns from an answer; a good one of a priced call without the header means that plenty is left.
    pub(super) fn observe(&self, answer: &Answer, is_priced: bool) {
        let mut usage = lock(&self.usage);
        if answer.credits_remaining.is_some() || (is_priced && answer.status < 300) {
            usage.remaining = answer.credits_remaining;
        }
        usage.throttled += u64::from(answer.status == 429);
    }

    /// Whether missing credits are behind a refusal with 429, as far as one can know.
    pub(super) fn is_exhausted(&self, price: u64, message: &str) -> bool {
        let usage = lock(&self.usage);
        let message = message.to_ascii_lowercase();
        usage.remaining.is_some_and(|remaining| remaining < price.max(1))
            || message.contains("credit")
            || message.contains("daily limit")
            || usage.per_day.is_some_and(|per_day| usage.credits.total() > per_day)
    }
}

/// How many calls may be open at once: halved when the server refuses one, slowly grown again.
pub(super) struct Gate {
    state: Mutex<GateState>,
    freed: Notify,
}

struct GateState {
    open: usize,
    limit: f64,
    max: usize,
    /// Counts the cuts, so that calls refused together cut once.
    epoch: u64,
}

impl Gate {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let max = max.max(1);
        Arc::new(Self {
            state: Mutex::new(GateState { open: 0, limit: max as f64, max, epoch: 0 }),
            freed: Notify::new(),
        })
    }

    /// Sets the size of the pool.
    pub(super) fn resize(&self, max: usize) {
        let mut state = lock(&self.state);
        state.max = max.max(1);
        state.limit = state.max as f64;
        drop(state);
        self.freed.notify_waiters();
    }

    /// Waits for a place.
    pub(super) async fn enter(self: &Arc<Self>) -> Permit {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(epoch) = self.try_enter() {
                return Permit { gate: Arc::clone(self), epoch };
            }
            freed.await;
        }
    }

    fn try_enter(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        ((state.open as f64) < state.limit.floor()).then(|| {
            state.open += 1;
            state.epoch
        })
    }

    #[cfg(test)]
    fn limit(&self) -> usize {
        lock(&self.state).limit as usize
    }
}

/// A place in a [`Gate`], given back on drop.
pub(super) struct Permit {
    gate: Arc<Gate>,
    epoch: u64,
}

impl Permit {
    /// The call was refused for now: halve the pool, once for all calls of the same time.
    pub(super) fn refused(&self) {
        let mut state = lock(&self.gate.state);
        if state.epoch == self.epoch {
            state.epoch += 1;
            state.limit = (state.limit / 2.0).max(1.0);
        }
    }

    /// The call was answered: a full pool of such calls widens the gate by one.
    pub(super) fn served(&self) {
        let mut state = lock(&self.gate.state);
        state.limit = (state.limit + 1.0 / state.limit).min(state.max as f64);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.gate.state).open -= 1;
        // All, since a widened gate may have room for more than one.
        self.gate.freed.notify_waiters();
    }
}

/// A counter is as good after a panic elsewhere as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Budget, Category, Gate, coql_price, delete_price, price_of, write_price};
    use crate::diagnostic::{Diagnostic, ErrorClass};
    use crate::zoho::config::CreditLimits;
    use crate::zoho::spending::Spending;
    use crate::zoho::transport::Answer;
    use crate::zoho::types::Method;
    use std::time::Duration;

    fn budget(limits: CreditLimits) -> Budget {
        Budget::new(limits, Spending::new("/proc/nowhere".into(), std::sync::Arc::new(chrono::Utc::now)))
    }

    #[test]
    fn prices_follow_the_table() {
        assert_eq!([1, 200, 201, 1000, 1001, 2000].map(coql_price), [1, 1, 2, 2, 3, 3]);
        assert_eq!([1, 10, 11, 100].map(write_price), [1, 1, 2, 10]);
        assert_eq!([1, 100].map(delete_price), [1, 1]);
        assert_eq!(price_of(Method::Post, "/crm/bulk/v8/write"), 500);
        assert_eq!(price_of(Method::Get, "/crm/bulk/v8/write/17"), 1);
        assert_eq!(price_of(Method::Get, "/crm/v8/Leads/deleted"), 2);
    }

    #[test]
    fn the_cap_of_a_run_names_numbers() {
        let budget = budget(CreditLimits { per_run: Some(60), ..CreditLimits::default() });
        assert!(budget.charge(Category::Data, 50, false).is_ok());
        let error = budget.charge(Category::Data, 50, false).expect_err("over the cap");
        assert_eq!(error.class(), ErrorClass::Quota);
        assert!(error.to_string().contains("costs 50, 50 of at most 60"), "{error}");
        assert!(budget.charge(Category::Polls, 0, false).is_ok());
        assert_eq!((budget.usage().credits.data, budget.usage().calls), (50, 2));
    }

    #[test]
    fn the_reserve_is_left_to_others() {
        let budget = budget(CreditLimits { reserve_percent: 10, ..CreditLimits::default() });
        budget.learn_allowance(Some(90_000));
        assert!(budget.charge(Category::Data, 500, false).is_ok(), "nothing known yet");
        budget.observe(&Answer { status: 200, credits_remaining: Some(9_400), ..Answer::default() }, true);
        assert!(budget.charge(Category::Data, 400, false).is_ok());
        let error = budget.charge(Category::Data, 1, false).expect_err("9,000 are kept");
        assert!(error.to_string().contains("9000 are left, 9000 of them kept in reserve"), "{error}");
    }

    #[test]
    fn missing_credits_are_told_from_too_many_calls() {
        let budget = budget(CreditLimits::default());
        assert!(!budget.is_exhausted(1, "too many requests, try later"));
        assert!(budget.is_exhausted(1, "API credits exhausted"));
        budget.observe(&Answer { status: 429, credits_remaining: Some(0), ..Answer::default() }, true);
        assert!(budget.is_exhausted(1, "too many requests, try later"));
        assert_eq!(budget.usage().throttled, 1);
    }

    #[tokio::test]
    async fn a_gate_halves_once_per_burst_and_grows_slowly() {
        let gate = Gate::new(8);
        let mut permits = Vec::new();
        for _ in 0..8 {
            permits.push(gate.enter().await);
        }
        permits.iter().for_each(super::Permit::refused);
        assert_eq!(gate.limit(), 4);
        drop(permits);
        for _ in 0..4 {
            gate.enter().await.served();
        }
        assert_eq!(gate.limit(), 4);
        gate.enter().await.served();
        assert_eq!(gate.limit(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_gate_makes_wait() {
        let gate = Gate::new(1);
        let first = gate.enter().await;
        let waiting = tokio::time::timeout(Duration::from_secs(1), gate.enter()).await;
        assert!(waiting.is_err());
        let (second, ()) = tokio::join!(gate.enter(), async { drop(first) });
        drop(second);
        gate.resize(2);
        let _both = (gate.enter().await, gate.enter().await);
    }
}
