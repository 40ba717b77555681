//! The time of day.

use std::sync::Arc;
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch; 0 when the clock stands before it.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A source of the time of day that tests can replace. Clones share it.
#[derive(Clone)]
pub(crate) struct WallClock(Arc<dyn Fn() -> u64 + Send + Sync>);

/// Longest sleep before the time of day is read again: that is how long a step of the system clock, or the time for which
/// the machine was suspended, can go unnoticed by a clock that waits for a far slot.
const MAX_SLEEP: Duration = Duration::from_secs(10);

impl WallClock {
    /// The clock of the system.
    pub(crate) fn system() -> Self {
        Self(Arc::new(now_ns))
    }

    /// A clock that reads what `nanoseconds` answers.
    #[cfg(test)]
    pub(crate) fn reading(nanoseconds: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(nanoseconds))
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn now_ns(&self) -> u64 {
        (self.0)()
    }

    /// Waits until the clock shows `at_ns` or later; for ever without it.
    pub(crate) async fn wait_until(&self, at_ns: Option<u64>) {
        let Some(at_ns) = at_ns else {
            return std::future::pending().await;
        };
        loop {
            let left = at_ns.saturating_sub(self.now_ns());
            if left == 0 {
                return;
            }
            // The timer counts in milliseconds and may end a little early; the loop then waits for the rest.
            tokio::time::sleep(Duration::from_nanos(left).min(MAX_SLEEP)).await;
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::Instant;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A clock that runs with the paused time of the test and can be stepped, in seconds.
    fn stepped() -> (WallClock, Arc<AtomicU64>) {
        let shown = Arc::new(AtomicU64::new(10_000));
        let (started, base) = (Instant::now(), Arc::clone(&shown));
        let read = move || base.load(Ordering::Relaxed) * SECOND + u64::try_from(started.elapsed().as_nanos()).unwrap();
        (WallClock::reading(read), shown)
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_moment_and_not_before() {
        let (clock, _) = stepped();
        clock.wait_until(Some(13_605 * SECOND)).await;
        let late = clock.now_ns() - 13_605 * SECOND;
        assert!(late < 10_000_000, "{late} ns late");
        clock.wait_until(Some(5)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_clock_is_noticed() {
        let (clock, base) = stepped();
        let started = Instant::now();
        let (waiting, stepping) = (clock.wait_until(Some(20_000 * SECOND)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            base.fetch_add(10_000, Ordering::Relaxed);
        });
        tokio::join!(waiting, stepping);
        assert!(started.elapsed() <= MAX_SLEEP + Duration::from_millis(10));

        // Back: the wait becomes longer.
        let started = Instant::now();
        base.fetch_sub(100, Ordering::Relaxed);
        clock.wait_until(Some(clock.now_ns() + 100 * SECOND)).await;
        assert!(started.elapsed() >= Duration::from_secs(100));
    }
}
