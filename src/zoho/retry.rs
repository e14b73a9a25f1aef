//! What is tried again, and for how long.
//!
//! One rule in one place: a call that the server surely did not execute may always be repeated; one
//! that it may have executed only if repeating does no harm. Refusals with 429 and 401 are of the
//! first kind, a broken connection or a 5xx answer of the second. Who waits and sends is `client`.

use super::backoff::Backoff;
use super::config::RetryPolicy;
use super::transport::{Answer, Failure, Reach};
use super::types::Method;
use crate::diagnostic::causes;
use std::time::Duration;
use tokio::time::Instant;

/// What to do with the outcome of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// The server has spoken; good or bad, another attempt would not change it.
    Accept,
    /// The token may be dead: get another one and repeat once.
    SignInAgain,
    /// Refused for now; repeat after a pause, this long if the server said so.
    Throttled(Option<Duration>),
    /// Repeat after a pause, this long if the server said so.
    Repeat(Option<Duration>),
    /// Failed, and repeating is not safe or not useful.
    Stop,
}

/// Judges one attempt. `repeatable` says that executing the call twice does no harm.
pub(super) fn advise(outcome: &Result<Answer, Failure>, repeatable: bool) -> Advice {
    match outcome {
        Ok(answer) => match answer.status {
            401 => Advice::SignInAgain,
            429 => Advice::Throttled(answer.retry_after),
            500..=599 if repeatable => Advice::Repeat(answer.retry_after),
            500..=599 => Advice::Stop,
            _ => Advice::Accept,
        },
        Err(failure) => match failure.reach {
            Reach::NotSent => Advice::Repeat(None),
            Reach::Unknown if repeatable => Advice::Repeat(None),
            Reach::Unknown | Reach::Local => Advice::Stop,
        },
    }
}

/// Whether the server may have executed a call that ended like this.
pub(super) fn may_have_run(outcome: &Result<Answer, Failure>) -> bool {
    match outcome {
        Ok(answer) => answer.status >= 500,
        Err(failure) => failure.reach == Reach::Unknown,
    }
}

/// A pause of this length is noticed by whoever watches, and explained.
const NOTICED: Duration = Duration::from_secs(4);

/// Says that a call is made again, and why.
pub(super) fn tell(
    method: Method,
    path: &str,
    outcome: &Result<Answer, Failure>,
    attempts: u32,
    pause: Duration,
) {
    let why = reason(outcome);
    if pause >= NOTICED {
        tracing::warn!("`{method} {path}`: {why}; trying again in {} s", pause.as_secs());
    } else {
        tracing::debug!(%method, path, attempts, ?pause, why, "trying again");
    }
}

/// Why an attempt does not do.
fn reason(outcome: &Result<Answer, Failure>) -> String {
    match outcome {
        Ok(answer) if answer.status == 429 => "Zoho asks for a pause (429)".to_owned(),
        Ok(answer) => format!("Zoho answered {}", answer.status),
        Err(failure) => {
            let causes = causes(&failure.error);
            std::iter::once(failure.error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
        }
    }
}

/// The attempts of one call: counts them, and ends when it is enough.
pub(super) struct Patience {
    policy: RetryPolicy,
    backoff: Backoff,
    started: Instant,
    attempts: u32,
}

impl Patience {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, backoff: Backoff::new(policy.base, policy.cap), started: Instant::now(), attempts: 0 }
    }

    /// Notes that an attempt is made.
    pub(super) fn attempt(&mut self) {
        self.attempts += 1;
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The pause before the next attempt, or `None` when there shall be none.
    ///
    /// What the server asked for counts more than our curve, but no less than it.
    pub(super) fn pause(&mut self, asked: Option<Duration>, random: f64) -> Option<Duration> {
        let own = self.backoff.next(random);
        let pause = asked.map_or(own, |asked| asked.max(own.min(self.policy.base)));
        let enough =
            self.attempts >= self.policy.max_attempts || self.elapsed() + pause > self.policy.max_elapsed;
        (!enough).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::{Advice, Patience, advise, may_have_run, reason};
    use crate::zoho::config::RetryPolicy;
    use crate::zoho::error::{Error, ErrorKind};
    use crate::zoho::transport::{Answer, Failure, Reach};
    use std::time::Duration;

    fn answer(status: u16) -> Result<Answer, Failure> {
        Ok(Answer { status, ..Answer::default() })
    }

    fn failure(reach: Reach) -> Result<Answer, Failure> {
        Err(Failure { reach, error: Error::new(ErrorKind::Network, "reset") })
    }

    #[test]
    fn the_reason_of_a_pause_is_told_in_words() {
        assert_eq!(reason(&answer(503)), "Zoho answered 503");
        assert_eq!(reason(&answer(429)), "Zoho asks for a pause (429)");
        assert_eq!(reason(&failure(Reach::NotSent)), "the network failed: reset");
    }

    #[test]
    fn only_harmless_calls_are_repeated_after_they_may_have_run() {
        for outcome in [answer(500), answer(503), failure(Reach::Unknown)] {
            assert_eq!(advise(&outcome, true), Advice::Repeat(None));
            assert_eq!(advise(&outcome, false), Advice::Stop);
            assert!(may_have_run(&outcome));
        }
    }

    #[test]
    fn what_surely_did_not_run_is_repeated_whatever_it_is() {
        for repeatable in [true, false] {
            assert_eq!(advise(&failure(Reach::NotSent), repeatable), Advice::Repeat(None));
            assert_eq!(advise(&answer(429), repeatable), Advice::Throttled(None));
            assert_eq!(advise(&answer(401), repeatable), Advice::SignInAgain);
            assert_eq!(advise(&answer(400), repeatable), Advice::Accept);
            assert_eq!(advise(&failure(Reach::Local), repeatable), Advice::Stop);
        }
        assert!(!may_have_run(&answer(429)) && !may_have_run(&failure(Reach::NotSent)));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_by_count_and_by_time() {
        let policy =
            RetryPolicy { max_attempts: 3, max_elapsed: Duration::from_secs(30), ..RetryPolicy::default() };
        let mut patience = Patience::new(policy);
        patience.attempt();
        assert_eq!(patience.pause(None, 0.5), Some(Duration::from_secs(2)));
        assert_eq!(patience.pause(Some(Duration::from_secs(7)), 0.5), Some(Duration::from_secs(7)));
        assert_eq!(patience.pause(Some(Duration::from_secs(31)), 0.5), None);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(patience.pause(None, 0.5), None);
        patience.attempt();
        patience.attempt();
        assert_eq!(Patience { attempts: 3, ..Patience::new(policy) }.pause(None, 0.5), None);
    }
}
