//! The epoch ticker: every millisecond each running guest returns to the executor, which lets others run and checks deadlines.
//!
//! It ticks only while guests run, so that an idle node sleeps.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// Length of one epoch: how long a guest computes before others get their turn, and so how long a short run may wait for
/// each of the long ones. A yield costs a few microseconds.
pub(crate) const EPOCH: Duration = Duration::from_millis(1);

/// Increments the epoch of the engines from a thread of its own.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    stop: AtomicBool,
    engines: RwLock<Vec<EngineEntry>>,
}

struct EngineEntry(Engine);

impl std::fmt::Debug for EngineEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// Keeps the ticker going while a guest runs.
pub(crate) struct Ticking(Arc<Shared>);

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let seen = shared.clone();
        let thread = thread::Builder::new().name("epoch".into()).spawn(move || seen.tick())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Adds an engine whose epoch is to be incremented.
    pub(crate) fn add(&self, engine: &Engine) {
        self.shared
            .engines
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(EngineEntry(engine.clone()));
    }

    /// Call before a guest runs, and keep the result until it ended.
    pub(crate) fn running(&self) -> Ticking {
        if self.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread().map(Thread::unpark);
        }
        Ticking(self.shared.clone())
    }

    fn thread(&self) -> Option<&Thread> {
        self.thread.as_ref().map(JoinHandle::thread)
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread cannot panic: it only waits and adds to a counter.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn tick(&self) {
        while !self.stop.load(Ordering::Acquire) {
            if self.running.load(Ordering::Acquire) == 0 {
                thread::park();
                continue;
            }
            thread::park_timeout(EPOCH);
            for engine in self.engines.read().unwrap_or_else(PoisonError::into_inner).iter() {
                engine.0.increment_epoch();
            }
        }
    }
}
