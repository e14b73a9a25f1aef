//! The emulator's clock: real time, shifted or frozen on request.
//!
//! Tokens, credits, jobs, retention and every time stamp read this clock only, so a test moves a
//! day forward instead of waiting for it.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock that tests can move.
#[derive(Debug, Default)]
pub struct Clock {
    setting: Mutex<Setting>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Setting {
    offset_ms: i64,
    frozen_ms: Option<i64>,
}

impl Clock {
    /// A clock that stands still at that instant until it is told otherwise.
    pub fn frozen_at(seconds: i64) -> Self {
        Self { setting: Mutex::new(Setting { offset_ms: 0, frozen_ms: Some(seconds * 1_000) }) }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn now_ms(&self) -> i64 {
        let setting = self.setting();
        setting.frozen_ms.unwrap_or_else(|| real_ms() + setting.offset_ms)
    }

    /// Seconds since 1970-01-01T00:00:00Z; records carry no finer time than this.
    pub fn now(&self) -> i64 {
        self.now_ms().div_euclid(1_000)
    }

    /// Moves the clock; a frozen clock stays frozen at the new time.
    pub fn advance_ms(&self, milliseconds: i64) {
        let mut setting = self.lock();
        match &mut setting.frozen_ms {
            Some(frozen) => *frozen += milliseconds,
            None => setting.offset_ms += milliseconds,
        }
    }

    /// Sets the time; a running clock runs on from there.
    pub fn set(&self, seconds: i64) {
        let mut setting = self.lock();
        match &mut setting.frozen_ms {
            Some(frozen) => *frozen = seconds * 1_000,
            None => setting.offset_ms = seconds * 1_000 - real_ms(),
        }
    }

    /// Stops the clock where it is, or lets it run on from there.
    pub fn freeze(&self, frozen: bool) {
        let now = self.now_ms();
        *self.lock() = if frozen {
            Setting { offset_ms: 0, frozen_ms: Some(now) }
        } else {
            Setting { offset_ms: now - real_ms(), frozen_ms: None }
        };
    }

    fn setting(&self) -> Setting {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Setting> {
        self.setting.lock().expect("no code panics while it holds the clock")
    }
}

fn real_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_frozen_clock_moves_only_when_told() {
        let clock = Clock::frozen_at(1_000);
        assert_eq!(clock.now(), 1_000);
        clock.advance_ms(1_500);
        assert_eq!(clock.now_ms(), 1_001_500);
        clock.set(50);
        assert_eq!(clock.now(), 50);
        clock.freeze(false);
        assert!((50..55).contains(&clock.now()));
    }

    #[test]
    fn a_running_clock_can_be_shifted() {
        let clock = Clock::default();
        let before = clock.now();
        clock.advance_ms(86_400_000);
        assert!(clock.now() - before >= 86_400);
    }
}
