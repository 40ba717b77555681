//! The threads that guests run on. IPC is served by others, so a busy guest delays no call.
//!
//! There are two kinds, as the queues of a multilevel feedback queue: brief runs have theirs to themselves, so they never meet
//! a thread that owes the kernel the time which a long one took. [`super::habits`] says where a run begins; one that turns out
//! to be long moves when it next gives way.

use std::future::{self, Future};
use std::panic;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wavs_service::sandbox::ask_for_slices;

use super::busy::{Beginning, Busy};
use super::habits::Habit;

/// Threads of each kind for blocking work of guests (file and name operations); further work waits.
const BLOCKING_THREADS: usize = 32;
/// How much the threads of long runs, and those that look up names, stand back for all others of the node (setpriority(2)): they
/// compute when nobody has a call to serve or a brief run to make. Each step is about a tenth of the processor time.
const LONG_NICE: i32 = 5;
/// The turns that these threads ask the kernel for. They are longer than what it gives by itself, 0.7 to 2.8 ms, so that whoever
/// wakes up beside a long run need not wait for its end or for the next tick.
const LONG_SLICE: Duration = Duration::from_millis(5);

/// Both kinds of threads.
#[derive(Debug)]
pub(crate) struct GuestExecutor {
    brief: Threads,
    long: Arc<Threads>,
}

/// A runtime of its own, kept on a thread that outlives every async context: dropping a runtime inside of one panics.
#[derive(Debug)]
struct Threads {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
}

impl GuestExecutor {
    /// Starts `workers` threads of each kind.
    ///
    /// # Errors
    /// When the system refuses threads.
    pub(crate) fn start(workers: usize) -> std::io::Result<Self> {
        Ok(Self {
            brief: Threads::start("guest", workers, || ())?,
            long: Arc::new(Threads::start("long-guest", workers, stand_back)?),
        })
    }

    /// The runtimes of the guests by name.
    pub(crate) fn runtimes(&self) -> [(&'static str, Handle); 2] {
        [
            ("guests", self.brief.handle.clone()),
            ("long guests", self.long.handle.clone()),
        ]
    }

    /// Runs a guest to its end.
    pub(crate) fn spawn<F>(&self, run: Busy<F>) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        if run.expected() == Habit::Long {
            return self.long.handle.spawn(run);
        }
        let long = self.long.clone();
        self.brief.handle.spawn(async move {
            match run.begin().await {
                Beginning::Ended(output) => output,
                Beginning::Long(run) => match long.handle.spawn(run).await {
                    Ok(output) => output,
                    Err(failed) => match failed.try_into_panic() {
                        Ok(panic) => panic::resume_unwind(panic),
                        // The process is stopping.
                        Err(_) => future::pending().await,
                    },
                },
            }
        })
    }
}

impl Threads {
    fn start(name: &str, workers: usize, begin: fn()) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers.max(1))
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name(name)
            .on_thread_start(begin)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name(format!("{name}s")).spawn(move || {
            // Ends when the sender is dropped; guests that still run are then dropped with the runtime.
            let _ = stopped.blocking_recv();
            runtime.shutdown_background();
        })?;
        Ok(Self {
            handle,
            stop: Some(stop),
        })
    }
}

/// Lets the calling thread give way to those that serve calls and make brief runs.
pub(crate) fn stand_back() {
    if let Err(cause) = rustix::process::setpriority_process(None, LONG_NICE) {
        tracing::debug!(%cause, "a thread keeps the priority of the others");
    }
    if let Err(cause) = ask_for_slices(LONG_SLICE) {
        tracing::debug!(%cause, "a thread keeps the turns of the others");
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.take();
    }
}

#[cfg(test)]
mod tests {
    use wavs_types::{ComponentDigest, ServiceId};

    use super::super::habits::{BRIEF, Habits};
    use super::super::slots::{SlotLimits, Slots};
    use super::*;

    /// Threads, and what makes runs of one component for them.
    struct World {
        executor: GuestExecutor,
        slots: Slots,
        habits: Habits,
    }

    impl World {
        fn new() -> Self {
            let limits = SlotLimits {
                total: 1,
                per_service: 1,
                queue: 1,
            };
            Self {
                executor: GuestExecutor::start(1).unwrap(),
                slots: Slots::new(limits),
                habits: Habits::default(),
            }
        }

        async fn run<F: Future<Output: Send> + Send + 'static>(&self, run: F) -> JoinHandle<F::Output> {
            let service = ServiceId::new([1; 32]);
            let slot = self.slots.acquire(service).await.unwrap();
            let habit = self.habits.of(service, ComponentDigest::new([1; 32]));
            self.executor.spawn(Busy::new(run, slot, habit))
        }
    }

    fn here() -> String {
        thread::current().name().unwrap_or_default().to_owned()
    }

    fn compute() {
        let started = clock();
        while clock() - started < 16 * BRIEF {}
    }

    fn clock() -> Duration {
        rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)
            .try_into()
            .unwrap()
    }

    #[tokio::test]
    async fn a_run_that_is_long_moves_and_the_next_one_begins_there() {
        let world = World::new();
        let long = || async {
            let begun = here();
            compute();
            tokio::task::yield_now().await;
            (begun, here())
        };
        let moved = world.run(long()).await.await.unwrap();
        assert_eq!(moved, ("guest".to_owned(), "long-guest".to_owned()));
        let known = world.run(long()).await.await.unwrap();
        assert_eq!(known, ("long-guest".to_owned(), "long-guest".to_owned()));
    }

    #[tokio::test]
    async fn a_run_that_waits_is_brief_all_the_same() {
        let world = World::new();
        for _ in 0..2 {
            let waiting = async {
                tokio::time::sleep(4 * BRIEF).await;
                here()
            };
            assert_eq!(world.run(waiting).await.await.unwrap(), "guest");
        }
    }

    #[tokio::test]
    async fn a_panic_is_told_wherever_it_happens() {
        let world = World::new();
        let long = async {
            compute();
            tokio::task::yield_now().await;
            panic!("on {}", here());
        };
        let failed = world.run(long).await.await.unwrap_err();
        let panic = failed.into_panic();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "on long-guest");
        assert_eq!(world.slots.load(), (0, 0));
    }
}
