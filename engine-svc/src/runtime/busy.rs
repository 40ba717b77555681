//! The time that a run keeps a guest thread busy, which is what services are charged for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::slots::Slot;

/// A run and the slot that it holds. Time counts only while it is polled: a guest that sleeps or waits is free of charge.
pub(crate) struct Busy<F> {
    run: Pin<Box<F>>,
    slot: Slot,
}

impl<F> Busy<F> {
    pub(crate) fn new(run: F, slot: Slot) -> Self {
        Self {
            run: Box::pin(run),
            slot,
        }
    }
}

impl<F: Future> Future for Busy<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let started = Instant::now();
        let polled = self.run.as_mut().poll(cx);
        self.slot.charge(started.elapsed());
        polled
    }
}
