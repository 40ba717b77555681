//! The threads that guests run on. IPC is served by others, so a busy guest delays no call.

use std::future::Future;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Threads for blocking work of guests (file and name operations); further work waits.
const BLOCKING_THREADS: usize = 32;
/// How much these threads stand back for the others of the node (setpriority(2)): a guest computes when nobody has calls to
/// serve. Each step is about a tenth of the processor time.
const NICE: i32 = 5;

/// A runtime of its own, kept on a thread that outlives every async context: dropping a runtime inside of one panics.
#[derive(Debug)]
pub(crate) struct GuestExecutor {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
}

impl GuestExecutor {
    /// Starts `workers` threads.
    ///
    /// # Errors
    /// When the system refuses threads.
    pub(crate) fn start(workers: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers.max(1))
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("guest")
            .on_thread_start(stand_back)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("guests".into()).spawn(move || {
            // Ends when the sender is dropped; guests that still run are then dropped with the runtime.
            let _ = stopped.blocking_recv();
            runtime.shutdown_background();
        })?;
        Ok(Self {
            handle,
            stop: Some(stop),
        })
    }

    /// The runtime of the guests.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs `work` on the guest threads.
    pub(crate) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(work)
    }
}

fn stand_back() {
    if let Err(cause) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%cause, "a guest thread keeps the priority of the others");
    }
}

impl Drop for GuestExecutor {
    fn drop(&mut self) {
        self.stop.take();
    }
}
