//! Signing the responses of a run, at most one digest per event.
//!
//! One transaction, durable against loss of power, moves the job to `signed`, stores the sign-once rows, the events, and
//! our signatures in their buckets. Only then anything leaves the process.

use wavs_ipc::contract::job::Response;
use wavs_store::{Durability, StoreError, fault};
use wavs_types::{AggregatorSubmit, B256, EventId, EvmAddress, TriggerAction, WasmResponse};

use super::collect;
use super::core::Core;
use crate::clock;
use crate::keys::sign_once::{EquivocationRefused, Prepared};
use crate::ledger::buckets::{BucketRow, NewBucket, SignatureRow};
use crate::ledger::done;
use crate::ledger::events::{self, NewEvent};
use crate::ledger::executions::{self, Execution};
use crate::ledger::jobs::{self, JobRow};
use crate::ledger::{Ending, State, announcements};
use crate::metrics::Of;
use crate::peers::bodies;
use crate::registry::directory::Entry;

/// Largest payload that is signed, in bytes: with the trigger it has to fit a call to engine-svc, and its envelope a
/// transaction. A larger one fails its job.
pub const MAX_PAYLOAD: usize = 2 * 1024 * 1024;

/// How signing ended.
pub enum Signing {
    /// These events now collect signatures.
    Collecting(Vec<Collecting>),
    /// Nothing was signed, for this reason; the job is to end so.
    Refused(Ending),
    /// The job is not waiting any more: its service was removed meanwhile.
    Gone,
}

/// A bucket that our signature is in.
pub struct Collecting {
    /// The event.
    pub event_id: EventId,
    /// Digest of the envelope.
    pub digest: B256,
    /// The bucket, if this signature has opened it.
    pub opened: Option<BucketRow>,
}

/// Signs the responses of `job` and records the run that gave them.
///
/// # Errors
/// When the ledger cannot be written; nothing was signed then as far as anybody can see.
pub async fn sign(
    core: &Core,
    job: &JobRow,
    entry: &Entry,
    submit: &AggregatorSubmit,
    action: &TriggerAction,
    responses: Vec<Response>,
    execution: Option<Box<Execution>>,
) -> Result<Signing, StoreError> {
    let of = Of {
        name: &entry.service().name,
        service: &job.service_id,
        workflow: &job.workflow_id,
    };
    let kind = submit.signature_kind;
    let mut refused: Vec<Ending> = Vec::new();
    let mut signing: Vec<(Prepared, NewBucket)> = Vec::new();
    for response in responses.into_iter().map(WasmResponse::from) {
        core.metrics.count(&core.metrics.requests, of);
        let event_id = response.event_id(&action.config, &action.data);
        if signing.iter().any(|(_, bucket)| bucket.event_id == event_id) {
            let component = entry
                .service()
                .workflows
                .get(&job.workflow_id)
                .map(|workflow| workflow.component.source.digest());
            refused.push(Ending::failed(
                "duplicate_event_id",
                format!(
                    "component {} gave two responses with event id {event_id}; the first is signed: give each an event-id-salt of its own",
                    component.map(|digest| digest.to_string()).unwrap_or_default()
                ),
            ));
            continue;
        }
        if response.payload.len() > MAX_PAYLOAD {
            let detail = format!(
                "the payload of event {event_id} has {} bytes, at most {MAX_PAYLOAD} are signed",
                response.payload.len()
            );
            refused.push(Ending::failed("too_large", detail));
            continue;
        }
        let envelope = response.envelope(event_id);
        let signer = match &entry.signer {
            Ok(signer) => signer,
            Err(reason) => {
                refused.push(Ending::failed("signer_missing", reason.clone()));
                continue;
            }
        };
        match Prepared::new(signer, envelope, kind) {
            Ok(prepared) => {
                let digest = prepared.digest();
                signing.push((
                    prepared,
                    NewBucket {
                        event_id,
                        digest,
                        response,
                        action: job.action.clone(),
                        kind,
                    },
                ));
            }
            Err(cause) => refused.push(Ending::failed("sign_failed", cause.to_string())),
        }
    }
    let (outcome, noted) = commit(core, job, entry, signing, refused, execution).await?;
    report(core, of, &outcome, &noted);
    Ok(outcome)
}

/// What was noticed beside the signing.
#[derive(Default)]
struct Noted {
    /// Second digests that were refused.
    equivocations: u64,
    /// Events of which other operators signed another digest before, with those operators.
    divergent: Vec<(EventId, EvmAddress, B256)>,
    /// Why responses were not signed, beside others that were.
    unsigned: Vec<Ending>,
}

/// Commits what was prepared.
async fn commit(
    core: &Core,
    job: &JobRow,
    entry: &Entry,
    signing: Vec<(Prepared, NewBucket)>,
    mut refused: Vec<Ending>,
    execution: Option<Box<Execution>>,
) -> Result<(Signing, Noted), StoreError> {
    let (job, service_id, workflow_id) = (job.job, job.service_id, job.workflow_id.clone());
    let (digest, ttl) = (entry.digest(), core.settings.collect_ttl(&service_id));
    let networked = core.peers.enabled();
    core.ledger
        .write(Durability::Power, move |tx| {
            let now_us = clock::now_us();
            executions::record_some(tx, execution.as_deref())?;
            if !jobs::is_received(tx, job)? {
                return Ok((Signing::Gone, Noted::default()));
            }
            let mut collecting = Vec::new();
            let mut noted = Noted::default();
            for (prepared, bucket) in signing {
                let closed = done::closed(tx, &bucket.event_id)?;
                let signed = match &closed {
                    None => prepared.commit(tx, now_us)?.map(Some),
                    Some(_) => prepared.compare(tx)?.map(|_| None),
                };
                let signed = match signed {
                    Ok(signed) => signed,
                    Err(refusal) => {
                        noted.equivocations += 1;
                        refused.push(equivocation(&refusal));
                        continue;
                    }
                };
                let Some(signed) = signed else {
                    refused.push(Ending::skipped("duplicate", closed.unwrap_or_default()));
                    continue;
                };
                fault::point("sign.once");
                let event = NewEvent {
                    event_id: bucket.event_id,
                    service_id,
                    workflow_id: workflow_id.clone(),
                    own_digest: Some(bucket.digest),
                    deadline_ms: clock::ms_after(ttl),
                };
                let open = events::insert(tx, &event, now_us)?;
                fault::point("sign.event");
                events::link(tx, job, &bucket.event_id)?;
                fault::point("sign.linked");
                let signature = SignatureRow {
                    signer: signed.signer,
                    signature: signed.signature,
                };
                let opened = collect::accept(tx, &bucket, &signature, now_us)?.opened;
                fault::point("sign.accepted");
                if networked {
                    announcements::signed(tx, &bucket.event_id, &bucket.digest)?;
                    bodies::adopt(tx, &bucket, now_us)?;
                    let others = collect::others(tx, &bucket.event_id, &bucket.digest)?.into_iter();
                    let others = others.map(|(signer, digest)| (bucket.event_id, signer, digest));
                    noted.divergent.extend(others);
                }
                collecting.push(Collecting {
                    event_id: bucket.event_id,
                    digest: bucket.digest,
                    opened: open
                        .filter(|_| opened)
                        .map(|deadline_ms| BucketRow::opened(bucket, service_id, workflow_id.clone(), deadline_ms)),
                });
            }
            if collecting.is_empty() {
                let ending = refused
                    .into_iter()
                    .next()
                    .unwrap_or_else(|| Ending::failed("sign_failed", "there was nothing to sign"));
                jobs::leave_received(tx, job, ending.state, &digest, Some(&ending.text()), now_us)?;
                return Ok((Signing::Refused(ending), noted));
            }
            let error = refused.first().map(Ending::text);
            noted.unsigned = refused;
            jobs::leave_received(tx, job, State::Signed, &digest, error.as_deref(), now_us)?;
            fault::point("sign.moved");
            Ok((Signing::Collecting(collecting), noted))
        })
        .await
}

fn equivocation(refusal: &EquivocationRefused) -> Ending {
    Ending::failed("equivocation_refused", refusal.to_string())
}

fn report(core: &Core, of: Of<'_>, outcome: &Signing, noted: &Noted) {
    for (event_id, operator, digest) in &noted.divergent {
        let labels = [of.service.to_string(), operator.to_string()];
        core.metrics.divergent.with(&[&labels[0], &labels[1]]).inc();
        tracing::warn!(service_id = %of.service, %event_id, %operator, %digest, "another operator had another result for an event before this node had its own; one of the two is wrong");
    }
    if noted.equivocations > 0 {
        core.metrics
            .equivocation
            .with(&[&of.service.to_string()])
            .add(noted.equivocations);
        tracing::error!(service_id = %of.service, workflow_id = %of.workflow, "a second digest for a signed event was refused; see the job's error");
    }
    for ending in noted.unsigned.iter().filter(|ending| ending.state == State::Failed) {
        core.metrics.count(&core.metrics.sign_errors, of);
        tracing::error!(service_id = %of.service, workflow_id = %of.workflow, reason = ending.reason, detail = ending.detail, "a response was not signed, beside others of its run that were");
    }
    match outcome {
        Signing::Collecting(events) => {
            for _ in events {
                core.metrics.count(&core.metrics.signed, of);
                core.metrics.count(&core.metrics.received, of);
            }
        }
        Signing::Refused(_) => core.metrics.count(&core.metrics.sign_errors, of),
        Signing::Gone => {}
    }
}
