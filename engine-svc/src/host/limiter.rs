//! The linear memory and tables of one run.

use std::sync::Arc;

use wasmtime::ResourceLimiter;
use wavs_service::config::GuestLimits;

use super::Crowded;
use super::shares::{Holding, Shares};
use crate::limits::Exceeded;

/// Counts what the guest allocates. A refused growth fails inside the guest, which may cope with it; when it traps instead,
/// [`Limiter::refused`] tells why.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: GuestLimits,
    used: usize,
    peak: usize,
    refused: Option<Exceeded>,
    /// What the run has of the memory that all share.
    held: Holding,
}

impl Limiter {
    /// Counts from nothing.
    pub(crate) fn new(mut limits: GuestLimits, memory: Arc<Shares>) -> Self {
        // What the run could never have is a limit like any other: waiting for others would not help.
        limits.memory = limits.memory.min(memory.most());
        Self {
            limits,
            held: Holding::new(memory),
            used: 0,
            peak: 0,
            refused: None,
        }
    }

    /// The most bytes in use at a time.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// The last growth that was refused.
    pub(crate) fn refused(&self) -> Option<&Exceeded> {
        self.refused.as_ref()
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limits.memory {
            self.refused = Some(Exceeded::Memory {
                asked: used,
                limit: self.limits.memory,
            });
            return Ok(false);
        }
        // Beyond its own declared maximum the growth fails anyway, and the bytes are not used.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            if !self.held.allow(used) {
                // Ends the run, because a guest that copes would answer by what others do.
                return Err(wasmtime::Error::new(crowded(used)));
            }
            self.used = used;
            self.peak = self.peak.max(used);
        }
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.limits.table_elements;
        if desired > limit {
            self.refused = Some(Exceeded::Table { asked: desired, limit });
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.core_instances as usize
    }

    fn tables(&self) -> usize {
        self.limits.tables as usize
    }

    fn memories(&self) -> usize {
        self.limits.memories as usize
    }
}

fn crowded(asked: usize) -> Crowded {
    Crowded(format!(
        "the guests under way have all the memory that this process may give them, and one of them asked for {asked} bytes in all; it is \
         repeated. Give engine-svc more memory (process.engine.memory_max_mb, MemoryMax=), or lower engine.guest_memory_mb or engine.workers"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_share_one_budget() {
        let limits = GuestLimits {
            memory: 100,
            ..GuestLimits::default()
        };
        let mut limiter = Limiter::new(limits, Arc::new(Shares::new(1_000, 1)));
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 50, None).unwrap());
        assert!(limiter.memory_growing(60, 100, None).unwrap());
        assert_eq!((limiter.peak(), limiter.used), (100, 100));
        assert_eq!(limiter.refused(), Some(&Exceeded::Memory { asked: 110, limit: 100 }));
    }

    #[test]
    fn more_than_there_is_for_one_run_is_a_limit_and_what_others_have_is_not() {
        let memory = Arc::new(Shares::new(100, 2));
        let limits = GuestLimits {
            memory: 1_000,
            ..GuestLimits::default()
        };
        let mut first = Limiter::new(limits, memory.clone());
        assert!(!first.memory_growing(0, 76, None).unwrap());
        assert_eq!(first.refused(), Some(&Exceeded::Memory { asked: 76, limit: 75 }));
        assert!(first.memory_growing(0, 75, None).unwrap());
        let mut second = Limiter::new(limits, memory);
        assert!(second.memory_growing(0, 26, None).unwrap_err().is::<Crowded>());
        assert!(second.memory_growing(0, 25, None).unwrap());
    }
}
