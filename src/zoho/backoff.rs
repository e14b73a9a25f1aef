//! How long to pause between two attempts: doubling from a base up to a cap, with jitter.
//!
//! Wraps the `backoff` crate, which gives the curve; the jitter is drawn from a random source that
//! comes in as an argument, so that its test is exact. When to pause at all is for `retry`.

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use std::time::Duration;

/// The growing pauses of one call.
pub(super) struct Backoff {
    curve: ExponentialBackoff,
    cap: Duration,
}

impl Backoff {
    /// Starts at `base`, doubles, and never exceeds `cap`.
    pub(super) fn new(base: Duration, cap: Duration) -> Self {
        let curve = ExponentialBackoff {
            current_interval: base,
            initial_interval: base,
            // The crate would draw from a generator of its own.
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: cap,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { curve, cap }
    }

    /// The next pause: between half and one and a half times the curve.
    ///
    /// `random` is uniform in 0..1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let step = self.curve.next_backoff().unwrap_or(self.cap);
        // The crate adds up to a nanosecond of its own dice.
        let step = Duration::from_micros(u64::try_from(step.as_micros()).unwrap_or(u64::MAX));
        step.mul_f64(0.5 + random).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));
        let pauses: Vec<u64> = (0..7).map(|_| backoff.next(0.5).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn jitter_spreads_around_the_curve() {
        let pause = |random| Backoff::new(Duration::from_secs(2), Duration::from_secs(60)).next(random);
        assert_eq!(pause(0.0), Duration::from_secs(1));
        assert_eq!(pause(0.75), Duration::from_millis(2500));
    }
}
