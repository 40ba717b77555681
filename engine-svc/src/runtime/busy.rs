//! The time that a run keeps a guest thread busy: services are charged for it, and it tells brief runs from long ones.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::habits::{BRIEF, Habit, HabitOf};
use super::slots::Slot;

/// A run and the slot that it holds. What counts is the time of the processor while it is polled: a guest that sleeps, waits, or
/// was kept waiting is free of charge.
pub(crate) struct Busy<F> {
    run: Pin<Box<F>>,
    slot: Slot,
    habit: HabitOf,
    computed: Duration,
}

/// What became of a run among the brief ones.
pub(super) enum Beginning<F: Future> {
    Ended(F::Output),
    /// It has computed for longer than a brief run and gave way; the rest belongs elsewhere.
    Long(Busy<F>),
}

impl<F: Future> Busy<F> {
    pub(crate) fn new(run: F, slot: Slot, habit: HabitOf) -> Self {
        Self {
            run: Box::pin(run),
            slot,
            habit,
            computed: Duration::ZERO,
        }
    }

    /// How long it will probably be.
    pub(super) fn expected(&self) -> Habit {
        self.habit.expected()
    }

    /// Runs it as long as it is brief.
    pub(super) async fn begin(mut self) -> Beginning<F> {
        let ended = std::future::poll_fn(|cx| match Pin::new(&mut self).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.computed >= BRIEF => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match ended.await {
            Some(output) => Beginning::Ended(output),
            None => Beginning::Long(self),
        }
    }
}

impl<F: Future> Future for Busy<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let started = processor_time();
        let polled = self.run.as_mut().poll(cx);
        let computed = processor_time().saturating_sub(started);
        self.slot.charge(computed);
        self.computed += computed;
        if polled.is_ready() {
            self.habit.learn(self.computed);
        }
        polled
    }
}

/// The time that this thread has had a processor.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
