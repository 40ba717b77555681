//! Decides about a received record before it is stored or forwarded, cheapest check first.
//!
//! `Reject` is for what no honest node would have sent on, and costs the sender; `Ignore` is for what an honest node may
//! not have known better about. Pure: time, tables and budgets are given, nothing is awaited.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use wavs_types::{EventId, EvmAddress, MAX_RECORD_BYTES, RecordError, ServiceId, SignedRecord};

use crate::budget::{Budget, Rate};
use crate::members::{Members, Standing, TopicMembers};

/// Records of one signer. Beyond it they are ignored, so that one operator cannot fill the others' stores.
const SIGNER_RATE: Rate = Rate {
    per_second: 50.0,
    burst: 1_000.0,
};
/// Signers whose budgets are remembered; only members have one, so this is reached by nobody in practice. When it is, full
/// budgets are forgotten first.
const MAX_BUDGETS: usize = 16_384;
/// Events that are over and remembered as such; the oldest is forgotten, and its records are then stored until they expire.
const MAX_RETIRED: usize = 100_000;
/// How far another operator's clock may be ahead.
const CLOCK_SKEW: Duration = Duration::from_secs(600);

/// What to do with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Store it and send it on.
    Accept(SignedRecord),
    /// Well-formed, by somebody who was not looked up yet: keep it aside and ask.
    Unknown(SignedRecord),
    /// Well-formed, by somebody who was looked up lately and is no operator; that may change.
    Stranger(SignedRecord),
    /// Drop it, without blame.
    Ignore(&'static str),
    /// Drop it and blame the sender.
    Reject(&'static str),
}

/// What the author's standing says about something well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Store it and send it on.
    Accept,
    /// By somebody who was not looked up yet: keep it aside and ask.
    Unknown,
    /// By somebody who was looked up lately and is no operator.
    Stranger,
    /// Drop it, without blame.
    Ignore(&'static str),
}

/// The state behind the decisions.
pub struct Gate {
    signers: HashMap<(ServiceId, EvmAddress), Budget>,
    retired: LruCache<(ServiceId, EventId), ()>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            signers: HashMap::new(),
            retired: LruCache::new(NonZeroUsize::new(MAX_RETIRED).unwrap_or(NonZeroUsize::MIN)),
        }
    }
}

impl Gate {
    /// From now on records about an event are ignored, except landed notices.
    pub fn retire(&mut self, service: ServiceId, event: EventId) {
        self.retired.put((service, event), ());
    }

    /// Decides about bytes that came on the topic of `service`.
    pub fn judge(
        &mut self,
        members: &Members,
        service: &ServiceId,
        bytes: &[u8],
        now_ms: u64,
        now: Instant,
    ) -> Judgement {
        let Some(topic) = members.topic(service) else {
            return Judgement::Ignore("no_service");
        };
        if bytes.len() > MAX_RECORD_BYTES {
            return Judgement::Reject("too_large");
        }
        let record = match SignedRecord::decode(bytes) {
            Ok(record) => record,
            // A later generation of the same topic is nobody's fault.
            Err(RecordError::Version { .. }) => return Judgement::Ignore("version"),
            Err(RecordError::Signature(_) | RecordError::Author { .. }) => return Judgement::Reject("signature"),
            Err(_) => return Judgement::Reject("malformed"),
        };
        if record.record().service_id != *service {
            return Judgement::Reject("wrong_topic");
        }
        let said = record.record();
        let attests = matches!(said.statement, wavs_types::Statement::Attestation(_));
        let event = said.event_id().filter(|_| attests);
        let skew = millis(CLOCK_SKEW);
        if said.issued_ms > now_ms.saturating_add(skew) {
            return Judgement::Ignore("from_the_future");
        }
        if said.issued_ms.saturating_add(millis(topic.ttl)).saturating_add(skew) < now_ms {
            return Judgement::Ignore("too_old");
        }
        match self.admit(topic, service, event, record.author(), now) {
            Admission::Accept => Judgement::Accept(record),
            Admission::Unknown => Judgement::Unknown(record),
            Admission::Stranger => Judgement::Stranger(record),
            Admission::Ignore(reason) => Judgement::Ignore(reason),
        }
    }

    /// Decides about something well-formed that `author` signed, whatever wire it came by. `event` is what it attests.
    pub fn admit(
        &mut self,
        topic: &TopicMembers,
        service: &ServiceId,
        event: Option<EventId>,
        author: EvmAddress,
        now: Instant,
    ) -> Admission {
        if event.is_some_and(|event| self.retired.contains(&(*service, event))) {
            return Admission::Ignore("retired");
        }
        match topic.standing(&author) {
            Standing::Stranger => Admission::Stranger,
            Standing::Unknown => Admission::Unknown,
            Standing::Member if self.may_speak(service, author, now) => Admission::Accept,
            Standing::Member => Admission::Ignore("signer_quota"),
        }
    }

    fn may_speak(&mut self, service: &ServiceId, author: EvmAddress, now: Instant) -> bool {
        if self.signers.len() >= MAX_BUDGETS {
            self.signers.retain(|_, budget| !budget.is_full(now));
        }
        self.signers
            .entry((*service, author))
            .or_insert_with(|| Budget::new(SIGNER_RATE, now))
            .take(now)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
