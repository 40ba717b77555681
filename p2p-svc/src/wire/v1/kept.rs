//! What the bridge offers to nodes that missed it: each submission once, bounded per service and by age. Bytes are never
//! replaced, because deployed nodes keep the newest of an event and signer.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use wavs_types::{B256, EventId, EvmAddress, ServiceId};

/// Bytes of all submissions. Beyond it a service gives up its oldest for its newest.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of one answer; deployed nodes read 10 MiB, other bridges 8.
const ANSWER_BYTES: usize = 7 * 1024 * 1024;

/// A submission.
#[derive(Debug)]
pub(super) struct Entry {
    /// The event.
    pub(super) event: EventId,
    /// Who signed its envelope.
    pub(super) signer: EvmAddress,
    /// Digest of the envelope.
    pub(super) digest: B256,
    /// As it is sent.
    pub(super) message: Vec<u8>,
    /// Since when it is kept.
    pub(super) since: Instant,
}

/// The submissions of all services.
#[derive(Debug)]
pub(super) struct Kept {
    by_service: BTreeMap<ServiceId, VecDeque<Entry>>,
    bytes: usize,
    max: usize,
    life: Duration,
}

impl Kept {
    /// Keeps at most `max` submissions of a service, each for `life`.
    pub(super) fn new(max: usize, life: Duration) -> Self {
        Self {
            by_service: BTreeMap::new(),
            bytes: 0,
            max: max.max(1),
            life,
        }
    }

    /// Keeps a submission. False when there is one by the signer for the event.
    pub(super) fn put(&mut self, service: ServiceId, entry: Entry) -> bool {
        let entries = self.by_service.entry(service).or_default();
        if entries
            .iter()
            .any(|known| known.event == entry.event && known.signer == entry.signer)
        {
            return false;
        }
        self.bytes += entry.message.len();
        entries.push_back(entry);
        while entries.len() > self.max || (self.bytes > MAX_BYTES && entries.len() > 1) {
            self.bytes -= entries.pop_front().map_or(0, |oldest| oldest.message.len());
        }
        true
    }

    /// The submissions of a service, newest first.
    pub(super) fn newest(&self, service: &ServiceId, max: usize, now: Instant) -> Vec<&[u8]> {
        let mut bytes = 0;
        let fresh = |entry: &&Entry| now.saturating_duration_since(entry.since) < self.life;
        let fits = |entry: &&Entry| {
            bytes += entry.message.len();
            bytes <= ANSWER_BYTES
        };
        let entries = self.by_service.get(service).into_iter().flatten().rev();
        entries
            .filter(fresh)
            .take(max)
            .take_while(fits)
            .map(|entry| entry.message.as_slice())
            .collect()
    }

    /// Whether a submission is kept that says something else about an event.
    pub(super) fn contradicts(&self, service: &ServiceId, event: &EventId, digest: &B256) -> bool {
        let mut entries = self.by_service.get(service).into_iter().flatten();
        entries.any(|entry| entry.event == *event && entry.digest != *digest)
    }

    /// Forgets events that are over.
    pub(super) fn over(&mut self, service: &ServiceId, events: &[EventId]) {
        if let Some(entries) = self.by_service.get_mut(service) {
            entries.retain(|entry| !events.contains(&entry.event));
        }
        self.measure();
    }

    /// Forgets what is too old, and services that are not bridged any more.
    pub(super) fn sweep(&mut self, bridged: impl Fn(&ServiceId) -> bool, now: Instant) {
        let life = self.life;
        self.by_service.retain(|service, entries| {
            entries.retain(|entry| now.saturating_duration_since(entry.since) < life);
            bridged(service) && !entries.is_empty()
        });
        self.measure();
    }

    fn measure(&mut self) {
        let entries = self.by_service.values().flatten();
        self.bytes = entries.map(|entry| entry.message.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8, since: Instant) -> Entry {
        Entry {
            event: EventId::new([n; 20]),
            signer: EvmAddress::repeat_byte(1),
            digest: B256::repeat_byte(n),
            message: vec![n],
            since,
        }
    }

    #[test]
    fn the_newest_come_first_each_event_once_and_only_while_it_is_young() {
        let (mut kept, now, service) = (
            Kept::new(2, Duration::from_secs(10)),
            Instant::now(),
            ServiceId::new([1; 32]),
        );
        for n in 1..=3 {
            assert!(kept.put(service, entry(n, now)));
            let other = Entry {
                message: vec![99],
                ..entry(n, now)
            };
            assert!(!kept.put(service, other), "bytes are never replaced");
        }
        assert_eq!(kept.newest(&service, 10, now), [&[3], &[2]]);
        assert_eq!(kept.newest(&service, 1, now), [&[3]]);
        assert!(kept.contradicts(&service, &EventId::new([3; 20]), &B256::ZERO));
        assert!(!kept.contradicts(&service, &EventId::new([3; 20]), &B256::repeat_byte(3)));
        kept.over(&service, &[EventId::new([3; 20])]);
        assert_eq!(kept.newest(&service, 10, now), [&[2]]);
        assert!(kept.newest(&service, 10, now + Duration::from_secs(11)).is_empty());
        kept.sweep(|_| false, now);
        assert!(kept.by_service.is_empty());
    }

    #[test]
    fn an_answer_has_a_size() {
        let (mut kept, now, service) = (
            Kept::new(1_000, Duration::from_secs(10)),
            Instant::now(),
            ServiceId::new([1; 32]),
        );
        for n in 0..200 {
            let large = Entry {
                message: vec![n; 64 * 1024],
                ..entry(n, now)
            };
            kept.put(service, large);
        }
        let bytes: usize = kept
            .newest(&service, 1_000, now)
            .iter()
            .map(|message| message.len())
            .sum();
        assert_eq!(bytes, ANSWER_BYTES);
    }
}
