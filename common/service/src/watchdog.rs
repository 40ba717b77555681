//! Watchdog pings that prove that every runtime of the process makes progress.
//!
//! The parent kills a process whose pings stop. A thread of its own asks each runtime to run a small task and pings when all
//! have done so; so a runtime whose threads are all stuck stops the pings, and a stuck one among several does too. What it cannot
//! see: one stuck thread beside others that work, and a task that waits for ever.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::notify::Notifier;

/// The runtimes that must be alive. Copies share them.
#[derive(Debug, Clone, Default)]
pub struct Watchdog {
    runtimes: Arc<Mutex<Vec<(&'static str, Handle)>>>,
}

/// Ends the pings when dropped.
pub(crate) struct Pinging(#[expect(dead_code, reason = "the thread notices when it is dropped")] Sender<()>);

impl Watchdog {
    /// From now on the process counts as hanging unless this runtime runs tasks, too. `name` is for the log.
    pub fn watch(&self, name: &'static str, runtime: Handle) {
        self.runtimes().push((name, runtime));
    }

    /// Pings at half of the period that the parent asked for. Nothing is done when it asked for none.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(&self) -> std::io::Result<Option<Pinging>> {
        let Some(period) = sd_notify::watchdog_enabled()
            .map(|period| period / 2)
            .filter(|period| *period > Duration::ZERO)
        else {
            return Ok(None);
        };
        let (stop, stopped) = mpsc::channel();
        let watchdog = self.clone();
        thread::Builder::new().name("watchdog".into()).spawn(move || {
            loop {
                let begun = Instant::now();
                let silent = watchdog.silent(period);
                if silent.is_empty() {
                    Notifier::new().alive();
                } else {
                    tracing::error!(
                        runtimes = silent.join(", "),
                        "threads of the process are stuck; without progress it is killed and started again"
                    );
                }
                let rest = period.saturating_sub(begun.elapsed());
                if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Some(Pinging(stop)))
    }

    /// The runtimes that did not run a task within `patience`. Blocks so long.
    fn silent(&self, patience: Duration) -> Vec<&'static str> {
        let until = Instant::now() + patience;
        let asked: Vec<_> = self
            .runtimes()
            .iter()
            .map(|(name, runtime)| {
                let (said, heard) = mpsc::channel();
                runtime.spawn(async move { said.send(()) });
                (*name, heard)
            })
            .collect();
        let silent = asked.into_iter().filter(|(_, heard)| {
            let left = until.saturating_duration_since(Instant::now());
            heard.recv_timeout(left).is_err()
        });
        silent.map(|(name, _)| name).collect()
    }

    fn runtimes(&self) -> MutexGuard<'_, Vec<(&'static str, Handle)>> {
        // A list that is only added to cannot be left half changed.
        self.runtimes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).build().unwrap()
    }

    #[test]
    fn a_runtime_whose_threads_are_stuck_is_told_from_those_that_work() {
        let (main, guests) = (runtime(), runtime());
        let watchdog = Watchdog::default();
        watchdog.watch("main", main.handle().clone());
        watchdog.watch("guests", guests.handle().clone());
        assert_eq!(watchdog.silent(Duration::from_secs(60)), [""; 0]);
        // One thread, and a task that never gives it back until it is told to.
        let (go, wait) = mpsc::channel::<()>();
        let (stuck, is_stuck) = mpsc::channel();
        guests.spawn(async move {
            stuck.send(()).unwrap();
            wait.recv()
        });
        is_stuck.recv().unwrap();
        assert_eq!(watchdog.silent(Duration::from_millis(200)), ["guests"]);
        drop(go);
        assert_eq!(watchdog.silent(Duration::from_secs(60)), [""; 0]);
        guests.shutdown_background();
    }
}
