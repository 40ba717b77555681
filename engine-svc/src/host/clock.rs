//! `wasi:clocks/monotonic-clock`: the clock of the machine, or one that only the guest moves.
//!
//! The second is for deterministic runs. It starts at 0; each look at it moves it on by a microsecond, so that a loop that
//! waits for a time comes to an end, and a sleep that is over moves it to the end of the sleep. Sleeps last as long as they
//! say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant as HostInstant;
use wasmtime::component::Resource;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Duration as Nanos, Instant};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::state::GuestState;

/// Nanoseconds by which one look moves the clock on.
const LOOK: u64 = 1_000;

/// A clock that only the guest moves, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct GuestClock(Arc<AtomicU64>);

impl GuestClock {
    fn look(&self) -> Instant {
        self.0.fetch_add(LOOK, Ordering::Relaxed)
    }

    /// Moves on to `time`, unless it is later already.
    fn reach(&self, time: Instant) {
        self.0.fetch_max(time, Ordering::Relaxed);
    }

    fn sleep(&self, nanos: Nanos) -> Sleep {
        Sleep {
            due: self.0.load(Ordering::Relaxed).saturating_add(nanos),
            // What no clock can count to never comes.
            over: HostInstant::now().checked_add(Duration::from_nanos(nanos)),
            clock: self.clone(),
        }
    }
}

/// A sleep that moves the clock of its guest when it is over.
struct Sleep {
    clock: GuestClock,
    due: Instant,
    over: Option<HostInstant>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        match self.over {
            // Also yields when it is over at once, so that other things that the guest polls get their turn.
            Some(over) => {
                tokio::task::yield_now().await;
                tokio::time::sleep_until(over).await;
            }
            None => std::future::pending().await,
        }
        self.clock.reach(self.due);
    }
}

impl monotonic_clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<Instant> {
        match &self.clock {
            Some(clock) => Ok(clock.look()),
            None => monotonic_clock::Host::now(&mut self.clocks()),
        }
    }

    fn resolution(&mut self) -> wasmtime::Result<Nanos> {
        match &self.clock {
            Some(_) => Ok(LOOK),
            None => monotonic_clock::Host::resolution(&mut self.clocks()),
        }
    }

    fn subscribe_instant(&mut self, when: Instant) -> wasmtime::Result<Resource<DynPollable>> {
        match &self.clock {
            Some(clock) => {
                let sleep = clock.sleep(when.saturating_sub(clock.0.load(Ordering::Relaxed)));
                self.subscribe(sleep)
            }
            None => monotonic_clock::Host::subscribe_instant(&mut self.clocks(), when),
        }
    }

    fn subscribe_duration(&mut self, nanos: Nanos) -> wasmtime::Result<Resource<DynPollable>> {
        match &self.clock {
            Some(clock) => {
                let sleep = clock.sleep(nanos);
                self.subscribe(sleep)
            }
            None => monotonic_clock::Host::subscribe_duration(&mut self.clocks(), nanos),
        }
    }
}

impl GuestState {
    fn subscribe(&mut self, sleep: Sleep) -> wasmtime::Result<Resource<DynPollable>> {
        let table = self.ctx().table;
        let sleep = table.push(sleep)?;
        subscribe(table, sleep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn looks_and_sleeps_move_the_clock_and_nothing_else_does() {
        let clock = GuestClock::default();
        assert_eq!((clock.look(), clock.look()), (0, LOOK));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.look(), 2 * LOOK);
        let mut sleep = clock.sleep(1_000_000_000);
        let started = HostInstant::now();
        sleep.ready().await;
        assert_eq!(started.elapsed(), Duration::from_secs(1));
        assert_eq!(clock.look(), 3 * LOOK + 1_000_000_000);
        // A shorter sleep that was begun before does not turn it back.
        clock.reach(5);
        assert!(clock.look() > 1_000_000_000);
    }
}
