//! Takes the records of other operators over: checks each against the operators, moves signatures into their buckets, and
//! wakes what they complete.
//!
//! A batch is one commit, together with the position in the inbox, so that nothing is lost or taken twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Transaction;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::gossip::{Generation, GossipClient, InboxCursor, RecordVerdict};
use wavs_ipc::{ErrorCode, Reconnecting, WireError};
use wavs_store::Durability;
use wavs_types::{Attestation, B256, EventId, EvmAddress, ServiceId, Statement};

use super::operators;
use super::said::{self, Refusal, Said};
use crate::clock;
use crate::ledger::buckets::{self, SignatureRow};
use crate::ledger::parked::{self, Parked};
use crate::ledger::state::State;
use crate::ledger::{announcements, done, events, meta, operators as rows, targets};
use crate::metrics::Of;
use crate::pipeline::collect;
use crate::pipeline::core::Core;
use crate::registry::ledger_failed;

/// Records taken over at once.
const BATCH: u32 = 256;
/// Longest wait for the first one.
const WAIT: Duration = Duration::from_secs(15);
/// Time on top of it for the call.
const MARGIN: Duration = Duration::from_secs(5);
/// Deadline of the short calls.
const DEADLINE: Duration = Duration::from_secs(5);
/// Rest after a failure, and while there is no network.
const REST: Duration = Duration::from_millis(500);

/// Takes records over until `stop`.
pub(super) async fn run(core: Arc<Core>, gossip: Reconnecting<GossipClient>, stop: CancellationToken) {
    let taking = async {
        loop {
            if let Err(error) = take(&core, &gossip).await {
                tracing::debug!(%error, "the records of other operators could not be taken over; trying again");
                let disabled = error.code == ErrorCode::Unavailable;
                tokio::time::sleep(if disabled { WAIT } else { REST }).await;
            }
        }
    };
    let _: Option<()> = stop.run_until_cancelled(taking).await;
}

async fn take(core: &Core, gossip: &Reconnecting<GossipClient>) -> Result<(), WireError> {
    let after = core.ledger.read(meta::gossip_cursor).await.map_err(ledger_failed)?;
    let wait_ms = u32::try_from(WAIT.as_millis()).unwrap_or(u32::MAX);
    let batch = gossip
        .call(WAIT + MARGIN, |client, cx| async move {
            client.pull(cx, after, BATCH, wait_ms).await
        })
        .await?;
    for (service, signer) in &batch.unknown {
        core.peers.lookups.ask(*service, EvmAddress::from(*signer));
    }
    let Some(last) = batch.items.last() else { return Ok(()) };
    let cursor = InboxCursor {
        store: batch.store,
        seq: last.seq,
    };
    let mut known = Vec::new();
    let mut rejected = Vec::new();
    for item in &batch.items {
        match said::read(core, item).and_then(|said| Ok((admit(core, &said)?, said))) {
            Ok((policy, said)) => known.push((said, policy)),
            Err(Refusal::Ignore(reason)) => count(core, reason),
            Err(Refusal::Reject) => rejected.push(wavs_types::record_id(&item.record)),
        }
    }
    for (said, _) in &known {
        match &said.statement {
            Statement::Hello(hello) => operators::heard(core, said.service, said.author, hello.posts_on.clone())
                .await
                .map_err(ledger_failed)?,
            _ if said.generation == Generation::V1 => core.peers.operators.heard_by_bridge(said.service),
            _ => {}
        }
    }
    let taken = core
        .ledger
        .write(Durability::Process, move |tx| {
            let mut taken = Taken::default();
            for (said, policy) in &known {
                enter(tx, said, *policy, &mut taken)?;
            }
            meta::set_gossip_cursor(tx, cursor)?;
            Ok(taken)
        })
        .await
        .map_err(ledger_failed)?;
    wake(core, taken);
    for id in rejected {
        count(core, "rejected");
        let verdict = RecordVerdict::Reject;
        gossip
            .call(
                DEADLINE,
                |client, cx| async move { client.verdict(cx, id, verdict).await },
            )
            .await?;
    }
    gossip
        .call(DEADLINE, |client, cx| async move { client.ack(cx, cursor).await })
        .await
}

/// How records of a service are treated.
#[derive(Debug, Clone, Copy)]
struct Policy {
    /// When the body of an unknown envelope is fetched, if it may be run: this node may have its own result by then.
    grace_ms: Option<u64>,
}

/// Checks what needs no ledger: the service, the author, the workflow and the kind of signature.
fn admit(core: &Core, said: &Said) -> Result<Policy, Refusal> {
    let Some(entry) = core.directory.get(&said.service) else {
        return Err(Refusal::Ignore("no_service"));
    };
    if entry.pin.1 == said.author {
        // Our own from before a restart with an empty store, or of a second node with the same key.
        return Err(Refusal::Ignore("own"));
    }
    if !core.peers.operators.is_operator(&said.service, &said.author) {
        return Err(Refusal::Ignore("no_operator"));
    }
    if let Statement::Attestation(attested) = &said.statement {
        let workflow = entry.service().workflows.get(&attested.workflow_id);
        let Some(submit) = workflow.and_then(|workflow| workflow.aggregator()) else {
            return Err(Refusal::Ignore("no_workflow"));
        };
        if submit.signature_kind != attested.kind {
            return Err(Refusal::Reject);
        }
    }
    let grace = u64::try_from(core.settings.own_input_grace.as_millis()).unwrap_or(u64::MAX);
    Ok(Policy {
        grace_ms: said.is_bound.then_some(grace),
    })
}

/// What a batch led to.
#[derive(Default)]
struct Taken {
    /// Buckets with a new signature.
    signed: Vec<(ServiceId, EventId, wavs_types::WorkflowId)>,
    /// Targets to look at.
    targets: BTreeSet<(ServiceId, i64)>,
    /// Envelopes to fetch.
    wanted: bool,
    /// Why signatures did not count.
    refused: Vec<&'static str>,
    /// What operators signed that cannot both be right.
    evidence: Vec<Evidence>,
}

/// Something that an operator signed and that speaks against it, or against this node.
struct Evidence {
    service: ServiceId,
    operator: EvmAddress,
    event_id: EventId,
    digest: B256,
    against: Against,
}

/// What the evidence contradicts.
enum Against {
    /// Another digest that the same operator signed for the event.
    Itself,
    /// The result that this node has.
    Us(B256),
}

fn enter(tx: &Transaction<'_>, said: &Said, policy: Policy, taken: &mut Taken) -> rusqlite::Result<()> {
    let (service, author) = (said.service, said.author);
    match &said.statement {
        Statement::Hello(_) => Ok(()),
        Statement::Attestation(said) => attested(tx, service, author, said, policy, taken),
        Statement::Landed(said) => {
            if rows::notice(tx, &author, said, clock::now_ms())? {
                let open = targets::of_event(tx, &said.event_id)?
                    .into_iter()
                    .filter(|target| target.state < State::Submitting);
                taken.targets.extend(open.map(|target| (service, target.id)));
            }
            Ok(())
        }
    }
}

fn attested(
    tx: &Transaction<'_>,
    service: ServiceId,
    author: EvmAddress,
    said: &Attestation,
    policy: Policy,
    taken: &mut Taken,
) -> rusqlite::Result<()> {
    let (event_id, digest) = (said.event_id, said.digest);
    let now_us = clock::now_us();
    let event = events::load(tx, &event_id)?;
    let is_over = event.as_ref().is_some_and(|event| event.state.is_terminal());
    if is_over || (event.is_none() && done::closed(tx, &event_id)?.is_some()) {
        announcements::gossiped(tx, &service, &event_id)?;
        taken.refused.push("over");
        return Ok(());
    }
    if event
        .as_ref()
        .is_some_and(|event| event.service_id != service || event.workflow_id != said.workflow_id)
    {
        taken.refused.push("relabelled");
        return Ok(());
    }
    let signature = SignatureRow {
        signer: author,
        signature: *said.signature.as_bytes(),
    };
    if collect::backs_too_many(tx, &event_id, &digest, &author)? {
        taken.refused.push("equivocation");
        return Ok(());
    }
    let evidence = |against| Evidence {
        service,
        operator: author,
        event_id,
        digest,
        against,
    };
    let equivocates = collect::other_digests(tx, &event_id, &digest, &author)? > 0;
    if buckets::load(tx, &event_id, &digest)?.is_some() {
        if collect::add(tx, &event_id, &digest, &signature, now_us)? {
            taken.signed.push((service, event_id, said.workflow_id.clone()));
            taken.targets.extend(collecting(tx, service, &event_id)?);
            taken.evidence.extend(equivocates.then(|| evidence(Against::Itself)));
        }
        return announcements::gossiped(tx, &service, &event_id);
    }
    let own: Option<B256> = parked::own_digest(tx, &event_id)?;
    // An envelope that differs from our own result is evidence, and nothing to run.
    let grace_ms = policy.grace_ms.filter(|_| own.is_none());
    let due_ms = grace_ms.map(|grace_ms| clock::now_ms().saturating_add(grace_ms));
    let parked = Parked {
        event_id,
        digest,
        service_id: service,
        workflow_id: said.workflow_id.clone(),
        kind: said.kind,
        signature,
        body_digest: said.body_digest,
    };
    if parked::insert(tx, &parked, due_ms, clock::now_ms())? {
        taken.wanted |= due_ms.is_some();
        taken.evidence.extend(equivocates.then(|| evidence(Against::Itself)));
        taken.evidence.extend(own.map(|own| evidence(Against::Us(own))));
    }
    Ok(())
}

/// Targets of an event that wait for weight; those that have it have a schedule of their own.
fn collecting(tx: &Transaction<'_>, service: ServiceId, event_id: &EventId) -> rusqlite::Result<Vec<(ServiceId, i64)>> {
    let targets = targets::of_event(tx, event_id)?.into_iter();
    let waiting = targets.filter(|target| target.state <= State::Collecting);
    Ok(waiting.map(|target| (service, target.id)).collect())
}

fn wake(core: &Core, taken: Taken) {
    for (service, _, workflow) in &taken.signed {
        if let Some(entry) = core.directory.get(service) {
            let of = Of {
                name: &entry.service().name,
                service,
                workflow,
            };
            core.metrics.count(&core.metrics.received, of);
        }
    }
    for reason in taken.refused {
        count(core, reason);
    }
    for evidence in &taken.evidence {
        report(core, evidence);
    }
    for (service, target) in taken.targets {
        core.submit.push(service, target, None);
    }
    if taken.wanted {
        core.peers.wanted.notify_one();
    }
    core.peers.wake();
}

fn report(core: &Core, evidence: &Evidence) {
    let Evidence {
        service,
        operator,
        event_id,
        digest,
        against,
    } = evidence;
    let labels = [service.to_string(), operator.to_string()];
    let labels = [labels[0].as_str(), labels[1].as_str()];
    match against {
        Against::Itself => {
            core.metrics.equivocation_seen.with(&labels).inc();
            tracing::error!(service_id = %service, %operator, %event_id, %digest, "equivocation seen: an operator signed two digests for one event");
        }
        Against::Us(own) => {
            core.metrics.divergent.with(&labels).inc();
            tracing::warn!(service_id = %service, %operator, %event_id, %digest, %own, "another operator has another result for an event; one of the two is wrong");
        }
    }
}

fn count(core: &Core, reason: &'static str) {
    core.metrics.peer_refused.with(&[reason]).inc();
}
