//! A lane runs one kind of work: it owns a [`Schedule`], starts what is next as a task, and reads the rows again that the
//! schedule has forgotten. A panic in the work costs only that piece, which is tried again later.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wavs_types::ServiceId;

use super::schedule::{Limits, Next, Schedule};
use crate::clock;
use crate::ledger::due::{DueQuery, DueRow};

/// How long work rests whose handler panicked.
const PANIC_REST: Duration = Duration::from_secs(30);
/// How long the lane rests when the rows cannot be read.
const REFILL_REST: Duration = Duration::from_secs(1);

/// A row that is due.
pub struct Due<W> {
    /// Whose it is.
    pub service: ServiceId,
    /// Its name.
    pub work: W,
    /// When, or now.
    pub at: Option<Instant>,
}

impl Due<i64> {
    /// A row whose work is named by its number.
    #[must_use]
    pub fn of(row: DueRow) -> Self {
        Self {
            service: row.service_id,
            work: row.id,
            at: clock::instant_of(row.next_ms),
        }
    }
}

/// What a lane does: run work, and read the rows that are due.
pub trait Handler<W>: Send + Sync + 'static {
    /// Runs a piece of work; everything that it needs is in its row.
    fn run(&self, service: ServiceId, work: W) -> BoxFuture<'static, Next>;

    /// Reads the rows that are wanted. None: the rows cannot be read now.
    fn refill(&self, wanted: DueQuery) -> BoxFuture<'static, Option<Vec<Due<W>>>>;
}

/// The handle of a lane. Clones share it.
pub struct Lane<W> {
    inner: Arc<Inner<W>>,
}

struct Inner<W> {
    limits: Limits,
    schedule: Mutex<Schedule<W>>,
    /// Wakes the lane: there is something new, or room.
    wake: Notify,
    /// Tells those who wait that work has ended.
    ended: Notify,
}

impl<W> Clone for Lane<W> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<W: Copy + Eq + Hash + Send + 'static> Lane<W> {
    /// A lane that has not started.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let schedule = Mutex::new(Schedule::new(limits));
        Self {
            inner: Arc::new(Inner {
                limits,
                schedule,
                wake: Notify::new(),
                ended: Notify::new(),
            }),
        }
    }

    /// Says that a row is due.
    pub fn push(&self, service: ServiceId, work: W, at: Option<Instant>) {
        self.schedule().push(service, work, at);
        self.inner.wake.notify_one();
    }

    /// Has the rows read again, because something changed that concerns many of them.
    pub fn reload(&self) {
        self.schedule().reload();
        self.inner.wake.notify_one();
    }

    /// How much is known.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.schedule().known()
    }

    /// How much may be known.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.inner.limits.known
    }

    /// Waits until less than `below` is known.
    pub async fn room(&self, below: usize) {
        loop {
            let ended = self.inner.ended.notified();
            if self.depth() < below {
                return;
            }
            ended.await;
        }
    }

    /// Runs the lane until `stop`; then waits for what runs.
    pub async fn run(self, handler: Arc<dyn Handler<W>>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let wanted = self.schedule().take_wanted();
            if let Some(wanted) = wanted
                && !self.refill(handler.as_ref(), wanted).await
            {
                self.schedule().reload();
                if stop
                    .run_until_cancelled(tokio::time::sleep(REFILL_REST))
                    .await
                    .is_none()
                {
                    break;
                }
            }
            while let Some((service, work)) = self.pop() {
                let lane = self.clone();
                let run = handler.run(service, work);
                tasks.spawn(async move {
                    let next = AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
                        tracing::error!(service_id = %service, "a pipeline stage panicked; its row is tried again later");
                        Next::After(PANIC_REST)
                    });
                    lane.schedule().finish(work, next, Instant::now());
                    lane.inner.wake.notify_one();
                    lane.inner.ended.notify_waiters();
                });
            }
            let due = self.schedule().next_due();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.inner.wake.notified() => {}
                () = sleep_until(due) => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn refill(&self, handler: &dyn Handler<W>, wanted: DueQuery) -> bool {
        let each = wanted.each;
        let Some(rows) = handler.refill(wanted).await else {
            return false;
        };
        let mut read: HashMap<ServiceId, usize> = HashMap::new();
        let mut schedule = self.schedule();
        for row in rows {
            *read.entry(row.service).or_default() += 1;
            schedule.push(row.service, row.work, row.at);
        }
        for (service, _) in read.into_iter().filter(|(_, count)| *count >= each) {
            schedule.has_more(service);
        }
        true
    }

    fn pop(&self) -> Option<(ServiceId, W)> {
        self.schedule().pop(Instant::now())
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<W>> {
        // The schedule is consistent between any two of its calls, so a panic elsewhere does not spoil it.
        self.inner.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    struct Recorder {
        rows: Vec<u8>,
        ran: mpsc::UnboundedSender<u8>,
    }

    impl Handler<u8> for Recorder {
        fn run(&self, _: ServiceId, work: u8) -> BoxFuture<'static, Next> {
            let ran = self.ran.clone();
            Box::pin(async move {
                assert!(work != 13, "unlucky");
                ran.send(work).unwrap();
                if work == 1 {
                    Next::After(Duration::from_secs(3_600))
                } else {
                    Next::Done
                }
            })
        }

        fn refill(&self, _: DueQuery) -> BoxFuture<'static, Option<Vec<Due<u8>>>> {
            let rows = self
                .rows
                .iter()
                .map(|work| Due {
                    service: ServiceId::new([0; 32]),
                    work: *work,
                    at: None,
                })
                .collect();
            Box::pin(async move { Some(rows) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_run_at_start_later_work_when_due_and_a_panic_hurts_nobody() {
        let (ran, mut seen) = mpsc::unbounded_channel();
        let lane = Lane::new(Limits {
            running: 2,
            per_service: 2,
            known: 16,
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(
            lane.clone()
                .run(Arc::new(Recorder { rows: vec![1, 13], ran }), stop.clone()),
        );
        assert_eq!(seen.recv().await, Some(1));
        lane.push(ServiceId::new([0; 32]), 2, None);
        assert_eq!(seen.recv().await, Some(2));
        // The paused clock jumps to the hour.
        assert_eq!(seen.recv().await, Some(1));
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn room_comes_when_work_ends() {
        let (ran, _seen) = mpsc::unbounded_channel();
        let lane = Lane::new(Limits {
            running: 2,
            per_service: 2,
            known: 16,
        });
        lane.push(ServiceId::new([0; 32]), 5, None);
        let stop = CancellationToken::new();
        let task = tokio::spawn(lane.clone().run(Arc::new(Recorder { rows: vec![], ran }), stop.clone()));
        lane.room(1).await;
        assert_eq!(lane.depth(), 0);
        stop.cancel();
        task.await.unwrap();
    }
}
