//! Turns for what a server takes only so often a minute: the result files of Bulk Read.
//!
//! Follows "Bulk Read, Limitations" (downloads per minute). Whoever is needed soonest goes first, not
//! whoever came first: a file that rows are waiting for passes one that was fetched ahead, unless
//! that one has waited long already. Few go at a time: more only divide the line between them, and
//! each has buffers of its own.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// At most so many starts per minute, and few at a time; the next one waits.
pub(super) struct Turns {
    per_minute: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    starts: VecDeque<Instant>,
    /// By when they came, each rank counting as some time, then by number.
    waiting: BTreeSet<(Instant, u64)>,
    next: u64,
    busy: usize,
}

/// A turn, over when it is dropped.
pub(super) struct Turn<'t>(&'t Turns);

/// A place in the line, given up on drop.
struct Place<'t> {
    turns: &'t Turns,
    key: (Instant, u64),
}

impl Turns {
    const WINDOW: Duration = Duration::from_secs(60);
    /// How much later than it came a rank has come, as it were.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Turns at a time. Ten files a minute come through two lines if each takes less than 12 s.
    const SIDE_BY_SIDE: usize = 2;

    pub(super) fn new(per_minute: usize) -> Self {
        Self { per_minute: per_minute.max(1), state: Mutex::default(), changed: Notify::new() }
    }

    /// Waits for a turn and takes it; lower ranks go first.
    pub(super) async fn wait(&self, rank: u32) -> Turn<'_> {
        let place = self.line_up(rank);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.try_take(place.key) {
                Ok(()) => return Turn(self),
                Err(Some(free_at)) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(free_at) => {}
                },
                Err(None) => changed.await,
            }
        }
    }

    fn line_up(&self, rank: u32) -> Place<'_> {
        let mut state = self.lock();
        let key = (Instant::now() + Self::PATIENCE * rank, state.next);
        state.next += 1;
        state.waiting.insert(key);
        Place { turns: self, key }
    }

    /// Takes a turn. `Err` says when the next one is free to whoever is first in line and waits for its
    /// minute, and nothing to the others.
    fn try_take(&self, key: (Instant, u64)) -> Result<(), Option<Instant>> {
        let mut state = self.lock();
        if state.waiting.first() != Some(&key) || state.busy >= Self::SIDE_BY_SIDE {
            return Err(None);
        }
        let now = Instant::now();
        while state.starts.front().is_some_and(|start| *start + Self::WINDOW <= now) {
            state.starts.pop_front();
        }
        if state.starts.len() >= self.per_minute {
            return Err(state.starts.front().map(|start| *start + Self::WINDOW));
        }
        state.starts.push_back(now);
        state.busy += 1;
        Ok(())
    }

    /// A counter is as good after a panic elsewhere as before.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.lock().waiting.remove(&self.key);
        self.turns.changed.notify_waiters();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn the_eleventh_waits_for_its_minute() {
        let turns = Turns::new(10);
        let started = Instant::now();
        for _ in 0..10 {
            turns.wait(0).await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(20)).await;
        turns.wait(0).await;
        assert!(started.elapsed() >= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn the_third_waits_for_one_of_two_to_end() {
        let turns = Turns::new(10);
        let (first, second) = (turns.wait(0).await, turns.wait(0).await);
        let mut third = std::pin::pin!(turns.wait(0));
        let soon = tokio::time::timeout(Duration::from_secs(90), &mut third).await;
        assert!(soon.is_err(), "there are two");
        drop(first);
        let third = third.await;
        drop((second, third));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_needed_soonest_goes_first_and_nobody_waits_forever() {
        let turns = Arc::new(Turns::new(1));
        turns.wait(0).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let line_up = |rank| {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            tokio::spawn(async move {
                turns.wait(rank).await;
                order.lock().expect("not poisoned").push(rank);
            })
        };
        let mut waiting: Vec<_> = [3, 0, 2].map(line_up).into();
        tokio::time::sleep(Duration::from_secs(21)).await;
        waiting.push(line_up(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The one that would be next gives up.
        waiting[1].abort();
        for task in waiting {
            let _ = task.await;
        }
        assert_eq!(*order.lock().expect("not poisoned"), [2, 1, 3]);
    }
}
