//! What the runs of a deterministic service see in place of chance and time.
//!
//! Everything follows from the event: random bytes are a hash chain over its id, and the wall clock stands at the time of
//! the trigger. Only a time that all operators agree on counts, which is one that the event id covers; for triggers without
//! such a time the clock stands at the Unix epoch. Without network access the result of a run is then a function of its
//! input, its key-value data and its files. The monotonic clock is in `clock`.

use std::convert::Infallible;
use std::time::Duration;

use rand::TryRng;
use sha2::{Digest, Sha256};
use wasmtime_wasi::HostWallClock;
use wavs_types::{EventId, TriggerData};

/// Bytes of one hash.
const BLOCK: usize = 32;

/// From what a run takes its randomness and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Determinism {
    /// The event that the run is for.
    pub(crate) event: EventId,
    /// Since the Unix epoch.
    pub(crate) time: Duration,
}

impl Determinism {
    /// The bytes of `get-random-bytes`.
    pub(super) fn random(&self) -> EventRandom {
        EventRandom::new(b"random", &self.event)
    }

    /// The bytes of `get-insecure-random-bytes`.
    pub(super) fn insecure(&self) -> EventRandom {
        EventRandom::new(b"insecure", &self.event)
    }

    /// The number of `insecure-seed`.
    pub(super) fn seed(&self) -> u128 {
        let block = EventRandom::new(b"seed", &self.event).block();
        block
            .iter()
            .take(16)
            .fold(0, |seed, byte| (seed << 8) | u128::from(*byte))
    }
}

/// The time of a trigger that all operators see alike, since the Unix epoch.
pub(crate) fn trigger_time(data: &TriggerData) -> Duration {
    match data {
        TriggerData::EvmContractEvent {
            block_timestamp: Some(seconds),
            ..
        } => Duration::from_secs(*seconds),
        TriggerData::Cron { trigger_time } => Duration::from_nanos(*trigger_time),
        // What a relay says about its own time differs from relay to relay.
        _ => Duration::ZERO,
    }
}

/// A wall clock that stands.
pub(super) struct StandingClock(pub(super) Duration);

impl HostWallClock for StandingClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

/// SHA-256 in counter mode: block n is the hash of the purpose, the event id and n. Written out here, because generators of
/// libraries change their output between versions, and operators do not all run the same one.
pub(super) struct EventRandom {
    start: Sha256,
    next: u64,
    buffer: [u8; BLOCK],
    used: usize,
}

impl EventRandom {
    fn new(purpose: &[u8], event: &EventId) -> Self {
        let start = Sha256::new()
            .chain_update(b"wavs deterministic ")
            .chain_update(purpose)
            .chain_update(event.as_bytes());
        Self {
            start,
            next: 0,
            buffer: [0; BLOCK],
            used: BLOCK,
        }
    }

    fn block(&mut self) -> [u8; BLOCK] {
        let hash = self.start.clone().chain_update(self.next.to_be_bytes()).finalize();
        self.next = self.next.wrapping_add(1);
        hash.into()
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == BLOCK {
                self.buffer = self.block();
                self.used = 0;
            }
            *byte = self.buffer[self.used];
            self.used += 1;
        }
    }
}

impl TryRng for EventRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    fn of(event: u8) -> Determinism {
        Determinism {
            event: EventId::new([event; 20]),
            time: Duration::ZERO,
        }
    }

    #[test]
    fn randomness_is_a_function_of_event_and_purpose() {
        let bytes = |mut random: EventRandom| {
            let mut bytes = [0; 100];
            random.fill_bytes(&mut bytes);
            bytes
        };
        assert_eq!(bytes(of(1).random()), bytes(of(1).random()));
        assert_ne!(bytes(of(1).random()), bytes(of(2).random()));
        assert_ne!(bytes(of(1).random()), bytes(of(1).insecure()));
        assert_ne!(of(1).seed(), of(2).seed());
        // However it is taken, it is one sequence.
        let (mut whole, mut parts) = (of(1).random(), of(1).random());
        let mut four = [0; 4];
        whole.fill_bytes(&mut four);
        assert_eq!(parts.next_u32(), u32::from_be_bytes(four));
    }

    #[test]
    fn the_sequence_is_frozen() {
        // SHA-256 of "wavs deterministic random", twenty bytes 01, and eight zero bytes, by another program.
        let mut first = [0; 32];
        of(1).random().fill_bytes(&mut first);
        assert_eq!(hex::encode(first), FIRST);
    }

    #[test]
    fn only_times_that_the_event_id_covers_count() {
        let time = |text: &str| trigger_time(&serde_json::from_str(text).unwrap());
        assert_eq!(
            time(r#"{"Cron": {"trigger_time": 1700000000000000001}}"#),
            Duration::new(1_700_000_000, 1)
        );
        assert_eq!(time(r#"{"Raw": [1]}"#), Duration::ZERO);
        assert_eq!(
            time(r#"{"BlockInterval": {"chain": "evm:1", "block_height": 9}}"#),
            Duration::ZERO
        );
    }

    const FIRST: &str = "ff7fd87831ebd837672f32e10f4e2b1fcfe747bf5d9a0a7579fedf74814fa21b";
}
