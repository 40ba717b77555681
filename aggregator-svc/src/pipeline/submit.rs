//! Bringing a target to its chain: judge the signatures, look whether it landed already, post, follow.
//!
//! One call of [`Submit`] is one attempt. The chain module is asked, the answer is committed, and the row comes back after
//! a back-off until it ended or its time ran out. State, nonce and raw transaction are one commit before the broadcast.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rusqlite::Connection;
use wavs_store::{Durability, StoreError, fault};
use wavs_types::{Envelope, EvmAddress, ServiceId, ServiceManager};

use super::backoff::Backoff;
use super::core::{AggregatorWork, Core};
use super::execute::LEDGER_REST;
use super::lane::{Due, Handler};
use super::schedule::Next;
use crate::chain::{
    AssessRequest, Assessment, ChainError, CollectedSignature, LandedQuery, LandedTx, Outcome, Quorum, ReadyCall,
    Retry, Revert, Simulation, SubmitRequest, Tracked, Verdict,
};
use crate::clock;
use crate::ledger::buckets::{self, BucketRow, SignatureRow};
use crate::ledger::due::DueQuery;
use crate::ledger::targets::{self, Choice, TargetRow};
use crate::ledger::{Ending, State, announcements, events, quorums};
use crate::metrics::Of;
use crate::peers::notices;
use crate::peers::stage::{self, Turn};

/// Attempts that may revert, or meet a contract that is not what it should be, before the target fails.
const MAX_REVERTS: u32 = 5;
/// Attempts that may end in a block without effect, or be taken by no node: each of them costs gas.
const MAX_MINED_REVERTS: u32 = 3;
/// How often a target that cannot be posted from here, or whose manager contradicts itself, is looked at.
const SLOW_REST: Duration = Duration::from_secs(60);
/// Rest between two looks for the code of a handler, so that three looks take ten minutes.
const NO_CODE_REST: Duration = Duration::from_secs(300);
/// Looks for the code of a handler.
const NO_CODE_LOOKS: u32 = 3;
/// Blocks before the first judgement in which a landing is looked for when the handler refuses.
const LOOK_BACK: u64 = 20_000;
/// Evictions in a row before the attempt is given up for now.
const MAX_EVICTION_ROUNDS: usize = 4;

/// The handler of the submit lane.
pub struct Submit(pub Arc<Core>);

impl Handler<i64> for Submit {
    fn run(&self, _: ServiceId, target: i64) -> BoxFuture<'static, Next> {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            if core.ledger.is_stuck() {
                return Next::After(LEDGER_REST);
            }
            drive(&core, target).await.unwrap_or_else(|cause| {
                tracing::error!(%cause, target, "a target could not be processed because of the ledger; it is tried again");
                Next::After(LEDGER_REST)
            })
        })
    }

    fn refill(&self, wanted: DueQuery) -> BoxFuture<'static, Option<Vec<Due<i64>>>> {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            let rows = core.ledger.read(move |conn| targets::open(conn, &wanted)).await.ok()?;
            Some(rows.into_iter().map(Due::of).collect())
        })
    }
}

/// What a set of signatures was worth, and where.
#[derive(Clone, Copy)]
struct Judged {
    /// Height of the pinned block.
    block: u64,
    quorum: Quorum,
}

/// The name of a target in the transaction manager.
pub(super) fn key(target: &TargetRow) -> String {
    format!("target/{}", target.id)
}

async fn drive(core: &Core, id: i64) -> Result<Next, StoreError> {
    let Some(target) = core.ledger.read(move |conn| targets::load(conn, id)).await? else {
        return Ok(Next::Done);
    };
    if target.state.is_terminal() {
        return Ok(Next::Done);
    }
    if matches!(target.state, State::Mined) {
        core.settle.push(target.service_id, id, None);
        return Ok(Next::Done);
    }
    if target.state == State::Submitting {
        // The process was restarted while a transaction was under way.
        match core.transactions.follow(&key(&target)).await {
            Ok(Some(tracked)) => return follow(core, &target, tracked).await,
            Ok(None) => {}
            Err(error) => return hold(core, &target, State::Submitting, error.to_string(), false, None).await,
        }
    }
    let running = core
        .directory
        .get(&target.service_id)
        .is_some_and(|entry| entry.is_running());
    if !running {
        // Resuming reads the rows again; removing has ended them.
        return Ok(Next::Done);
    }
    attempt(core, &target).await
}

async fn attempt(core: &Core, target: &TargetRow) -> Result<Next, StoreError> {
    let Ok(handler) = target.handler.parse::<EvmAddress>() else {
        let error = ChainError::CosmosNotServed(target.chain.clone());
        return end(core, target, Ending::failed(error.class(), error.to_string())).await;
    };
    if clock::now_ms() >= target.deadline_ms {
        let detail = target
            .error
            .clone()
            .unwrap_or_else(|| "it did not land in time".to_owned());
        let ending = Ending {
            state: State::Expired,
            reason: "submit_ttl",
            detail,
        };
        return end(core, target, ending).await;
    }
    if let Some(landed) = notices::confirmed(core, target, handler).await? {
        return landed_elsewhere(core, target, landed).await;
    }
    if let (Some(since_block), true) = (target.since_block, target.attempt > 0) {
        let query = LandedQuery {
            chain: target.chain.clone(),
            handler,
            event_id: target.event_id,
            since_block,
        };
        match core.chains.landed(&query).await {
            Ok(Some(landed)) => return landed_elsewhere(core, target, landed).await,
            Ok(None) => {}
            Err(error) => return chain_failed(core, target, &error).await,
        }
    }
    let mut target = target.clone();
    match choose(core, &target).await? {
        Choice::Deliver(digest) => target.digest = digest,
        Choice::Divergent(own) => {
            let text = format!(
                "this node has another result ({own}) for the event than the one that was to be delivered; it posts nothing"
            );
            return hold(core, &target, target.state, text, false, Some(SLOW_REST)).await;
        }
    }
    let target = &target;
    let (event_id, digest) = (target.event_id, target.digest);
    let loaded = core.ledger.read(move |conn| {
        Ok((
            buckets::load(conn, &event_id, &digest)?,
            buckets::signatures(conn, &event_id, &digest)?,
        ))
    });
    let (Some(bucket), signatures) = loaded.await? else {
        return Ok(Next::Done);
    };
    let envelope = bucket.response.envelope(event_id);
    match assess(core, target, handler, &envelope, &signatures).await {
        Ok(assessment) => {
            meet(core, target, assessment.manager);
            judge(core, target, &bucket, assessment).await
        }
        Err(error) => chain_failed(core, target, &error).await,
    }
}

/// Remembers the manager of a target chain, so that the standing of the service's key there is looked at.
fn meet(core: &Core, target: &TargetRow, manager: EvmAddress) {
    let Some(entry) = core.directory.get(&target.service_id) else {
        return;
    };
    let is_home = matches!(&entry.row.manager, ServiceManager::Evm { chain, address } if *chain == target.chain && *address == manager);
    if !is_home && entry.mirrors.met(&target.chain, manager) {
        core.mirrored.notify_one();
    }
}

/// The envelope that a target is to deliver.
async fn choose(core: &Core, target: &TargetRow) -> Result<Choice, StoreError> {
    // A node by itself has but its own result, and every commit counts.
    if !core.peers.enabled() {
        return Ok(Choice::Deliver(target.digest));
    }
    let row = target.clone();
    core.ledger
        .write(Durability::Process, move |tx| targets::choose(tx, &row))
        .await
}

/// Judges the signatures, and again without those that the manager refuses.
async fn assess(
    core: &Core,
    target: &TargetRow,
    handler: EvmAddress,
    envelope: &Envelope,
    signatures: &[SignatureRow],
) -> Result<Assessment, ChainError> {
    let collected: Vec<_> = signatures
        .iter()
        .map(|row| CollectedSignature {
            signer: row.signer,
            signature: row.signature,
        })
        .collect();
    let mut quarantined = Vec::new();
    let mut round = 0;
    loop {
        let request = AssessRequest {
            chain: &target.chain,
            handler,
            envelope,
            signatures: &collected,
            quarantined: &quarantined,
            poster: core.transactions.address(),
        };
        let assessment = core.chains.assess(&request).await?;
        if assessment.evicted.is_empty() || assessment.ready.is_some() || round >= MAX_EVICTION_ROUNDS {
            return Ok(assessment);
        }
        tracing::warn!(event_id = %target.event_id, chain = %target.chain, signers = ?assessment.evicted, "the manager does not accept these signers; trying without them");
        quarantined.extend(&assessment.evicted);
        if collected
            .iter()
            .all(|signature| quarantined.contains(&signature.signer))
        {
            return Ok(assessment);
        }
        round += 1;
    }
}

async fn judge(
    core: &Core,
    target: &TargetRow,
    bucket: &BucketRow,
    assessment: Assessment,
) -> Result<Next, StoreError> {
    let text = assessment.verdict.to_string();
    let judged = Judged {
        block: assessment.snapshot.number,
        quorum: assessment.quorum,
    };
    match (assessment.verdict, assessment.ready) {
        (Verdict::Sufficient, Some(ready)) => match ready.simulation.clone() {
            Simulation::Passed { .. } => match stage::turn(core, target).await? {
                Turn::Now(stage) => post(core, target, bucket, ready, judged, stage).await,
                Turn::Later(rest, stage) => {
                    reached(core, target, judged).await?;
                    let text =
                        format!("quorum is reached; this node posts in stage {stage} if nothing has landed by then");
                    hold(core, target, State::Waiting, text, false, Some(rest)).await
                }
            },
            Simulation::Reverted(revert) => reverted(core, target, &revert, Some(judged), MAX_REVERTS).await,
            Simulation::NotRun => {
                let text = "quorum is reached, but this node has no posting key: set aggregator_evm_credential, or let another operator post";
                reached(core, target, judged).await?;
                hold(core, target, State::Waiting, text.to_owned(), false, Some(SLOW_REST)).await
            }
        },
        (Verdict::BelowQuorum, _) => {
            let text = format!("{text}: {}", judged.quorum.insufficient_text());
            short(core, target, judged.quorum).await?;
            hold(core, target, State::Collecting, text, false, None).await
        }
        (Verdict::WaitForBlock, _) => {
            hold(
                core,
                target,
                State::Collecting,
                text,
                false,
                Some(assessment.retry_after),
            )
            .await
        }
        (Verdict::NoOperators, _) => {
            short(core, target, judged.quorum).await?;
            hold(core, target, State::Collecting, text, false, None).await
        }
        (Verdict::RegistryInconsistent(_) | Verdict::Malformed(_), _) => {
            tracing::error!(event_id = %target.event_id, chain = %target.chain, handler = target.handler, verdict = text, "the service manager does not take the signatures");
            hold(core, target, State::Collecting, text, false, Some(SLOW_REST)).await
        }
        (Verdict::ManagerFault(_) | Verdict::Sufficient, _) => {
            hold(core, target, State::Collecting, text, false, None).await
        }
    }
}

/// Remembers how much weight there is, for those who look at the event.
async fn short(core: &Core, target: &TargetRow, quorum: Quorum) -> Result<(), StoreError> {
    let id = target.id;
    core.ledger
        .write(Durability::Process, move |tx| weigh(tx, id, &quorum))
        .await
}

fn weigh(tx: &Connection, target: i64, quorum: &Quorum) -> rusqlite::Result<()> {
    let threshold = quorum.threshold().map(|threshold| threshold.to_string());
    quorums::weigh(tx, target, &quorum.signed.to_string(), threshold.as_deref())
}

async fn reached(core: &Core, target: &TargetRow, judged: Judged) -> Result<(), StoreError> {
    count_quorum(core, target).await?;
    let (row, deadline_ms) = (
        target.clone(),
        clock::ms_after(core.settings.submit_ttl(&target.service_id)),
    );
    core.ledger
        .write(Durability::Process, move |tx| {
            weigh(tx, row.id, &judged.quorum)?;
            targets::reached_quorum(tx, &row, judged.block, deadline_ms, clock::now_us())
        })
        .await
}

/// Counts that a target has enough weight, the first time that this is seen.
async fn count_quorum(core: &Core, target: &TargetRow) -> Result<(), StoreError> {
    if target.since_block.is_some() {
        return Ok(());
    }
    let event_id = target.event_id;
    let Some(event) = core.ledger.read(move |conn| events::begun(conn, &event_id)).await? else {
        return Ok(());
    };
    let waited = Duration::from_micros(clock::now_us().saturating_sub(event.created_us));
    core.metrics.quorum_wait_seconds.observe(waited.as_secs_f64());
    if let Some(entry) = core.directory.get(&target.service_id) {
        let of = Of {
            name: &entry.service().name,
            service: &target.service_id,
            workflow: &event.workflow_id,
        };
        core.metrics.count(&core.metrics.quorum_reached, of);
    }
    Ok(())
}

async fn post(
    core: &Core,
    target: &TargetRow,
    bucket: &BucketRow,
    ready: ReadyCall,
    judged: Judged,
    stage: u32,
) -> Result<Next, StoreError> {
    count_quorum(core, target).await?;
    core.metrics.posted.with(&[&stage.to_string()]).inc();
    if let Some(entry) = core.directory.get(&target.service_id) {
        let of = Of {
            name: &entry.service().name,
            service: &target.service_id,
            workflow: &bucket.workflow_id,
        };
        core.metrics.count(&core.metrics.submits, of);
    }
    let mut target = target.clone();
    if target.since_block.is_none() {
        target.deadline_ms = clock::ms_after(core.settings.submit_ttl(&target.service_id));
    }
    let target = &target;
    let (row, deadline_ms) = (target.clone(), target.deadline_ms);
    let request = SubmitRequest {
        target: key(target),
        ready,
        gas_price_hint: target.gas_hint,
        // Rides in the durable commit of nonce and raw transaction, so that this row never promises what is not stored.
        along: Some(Box::new(move |tx| {
            let now_us = clock::now_us();
            fault::point("submit.reserved");
            weigh(tx, row.id, &judged.quorum)?;
            targets::reached_quorum(tx, &row, judged.block, deadline_ms, now_us)?;
            targets::advance(tx, row.id, &row.event_id, State::Submitting, None, now_us)?;
            Ok(())
        })),
    };
    match core.transactions.submit(request).await {
        Ok(tracked) => follow(core, target, tracked).await,
        Err(error) => {
            reached(core, target, judged).await?;
            hold(core, target, State::Waiting, error.to_string(), false, None).await
        }
    }
}

/// Waits until a transaction is in a block, or never will be.
async fn follow(core: &Core, target: &TargetRow, mut tracked: Tracked) -> Result<Next, StoreError> {
    let left = Duration::from_millis(target.deadline_ms.saturating_sub(clock::now_ms()));
    let in_time = tokio::time::timeout(left, tracked.outcome()).await;
    let outcome = match in_time {
        Ok(outcome) => outcome,
        Err(_) => {
            tracked.give_up();
            tracked.outcome().await
        }
    };
    match outcome {
        Outcome::Mined(tx) => {
            let (row, hash, networked) = (target.clone(), tx.hash.to_string(), core.peers.enabled());
            let seen_us = core
                .ledger
                .write(Durability::Process, move |ledger| {
                    targets::mined(ledger, &row, &hash, State::Mined, clock::now_us())?;
                    if networked {
                        announcements::landed(ledger, &row.event_id, row.id)?;
                    }
                    events::seen_us(ledger, &row.event_id)
                })
                .await?;
            core.metrics.landed.with(&["own"]).inc();
            if let Some(seen_us) = seen_us {
                let elapsed = Duration::from_micros(clock::now_us().saturating_sub(seen_us));
                core.metrics.end_to_end_seconds.observe(elapsed.as_secs_f64());
            }
            core.peers.wake();
            core.aggregate
                .push(target.service_id, AggregatorWork::Callback(target.id), None);
            core.settle.push(target.service_id, target.id, None);
            Ok(Next::Done)
        }
        Outcome::Reverted { revert, .. } => reverted(core, target, &revert, None, MAX_MINED_REVERTS).await,
        Outcome::LandedElsewhere(landed) => landed_elsewhere(core, target, landed).await,
        Outcome::Refused(text) => {
            // Every attempt costs a cancel, so there are few.
            let detail = format!("no node takes the transaction: {text}");
            if target.reverts + 1 >= MAX_MINED_REVERTS {
                return end(core, target, Ending::failed("tx_refused", detail)).await;
            }
            hold(core, target, State::Waiting, detail, true, None).await
        }
        Outcome::Lost(reason) => {
            hold(
                core,
                target,
                State::Waiting,
                reason,
                false,
                Some(Duration::from_millis(100)),
            )
            .await
        }
        Outcome::Interrupted => Ok(Next::Done),
    }
}

/// The handler refuses although the manager accepts: perhaps it has the event already, else a few more attempts.
async fn reverted(
    core: &Core,
    target: &TargetRow,
    revert: &Revert,
    judged: Option<Judged>,
    most: u32,
) -> Result<Next, StoreError> {
    if let (Some(handler), Some(block)) = (
        target.handler.parse().ok(),
        target.since_block.or(judged.map(|judged| judged.block)),
    ) {
        // It may have landed long before this node had the signatures.
        let since_block = block.saturating_sub(LOOK_BACK);
        let query = LandedQuery {
            chain: target.chain.clone(),
            handler,
            event_id: target.event_id,
            since_block,
        };
        if let Ok(Some(landed)) = core.chains.landed(&query).await {
            return landed_elsewhere(core, target, landed).await;
        }
    }
    let detail = format!("handler {} on {} reverts with {revert}", target.handler, target.chain);
    if target.reverts + 1 >= most {
        return end(core, target, Ending::failed("handler_revert", detail)).await;
    }
    if let Some(judged) = judged {
        reached(core, target, judged).await?;
    }
    hold(core, target, State::Waiting, detail, true, None).await
}

async fn landed_elsewhere(core: &Core, target: &TargetRow, landed: LandedTx) -> Result<Next, StoreError> {
    let same = landed.digest.is_none_or(|digest| digest == target.digest);
    let (row, hash) = (target.clone(), landed.hash.to_string());
    core.metrics
        .landed
        .with(&[if same { "other" } else { "other_digest" }])
        .inc();
    if same {
        core.ledger
            .write(Durability::Process, move |tx| {
                targets::mined(tx, &row, &hash, State::Landed, clock::now_us())
            })
            .await?;
    } else {
        let detail = format!("transaction {hash} delivered another envelope for this event");
        tracing::error!(event_id = %target.event_id, chain = %target.chain, tx = %landed.hash, "another digest landed for an event");
        let ending = Ending {
            state: State::Superseded,
            reason: "other_digest",
            detail,
        };
        core.ledger
            .write(Durability::Process, move |tx| {
                targets::end(tx, &row, &ending, clock::now_us())
            })
            .await?;
    }
    core.aggregate
        .push(target.service_id, AggregatorWork::Callback(target.id), None);
    Ok(Next::Done)
}

async fn chain_failed(core: &Core, target: &TargetRow, error: &ChainError) -> Result<Next, StoreError> {
    let text = error.to_string();
    let state = if target.since_block.is_some() {
        State::Waiting
    } else {
        State::Collecting
    };
    if error.retry() == Retry::Never {
        return end(core, target, Ending::failed(error.class(), text)).await;
    }
    // What the contracts are may be corrected on chain, but not for ever.
    let (most, rest) = match error {
        ChainError::NoCode { .. } => (NO_CODE_LOOKS, Some(NO_CODE_REST)),
        ChainError::NoManager { .. } | ChainError::Reverted { .. } | ChainError::Malformed { .. } => {
            (MAX_REVERTS, None)
        }
        _ => return hold(core, target, state, text, false, None).await,
    };
    if target.reverts + 1 >= most {
        return end(core, target, Ending::failed(error.class(), text)).await;
    }
    hold(core, target, state, text, true, rest).await
}

async fn hold(
    core: &Core,
    target: &TargetRow,
    state: State,
    error: String,
    reverted: bool,
    rest: Option<Duration>,
) -> Result<Next, StoreError> {
    let rest = rest.unwrap_or_else(|| Backoff::CHAIN.after(target.attempt + 1));
    tracing::info!(event_id = %target.event_id, chain = %target.chain, handler = target.handler, %state, reason = error, "a target waits");
    let (row, next_ms) = (target.clone(), clock::ms_after(rest));
    core.ledger
        .write(Durability::Process, move |tx| {
            targets::hold(tx, &row, state, &error, reverted, next_ms, clock::now_us())
        })
        .await?;
    Ok(Next::After(rest))
}

async fn end(core: &Core, target: &TargetRow, ending: Ending) -> Result<Next, StoreError> {
    tracing::warn!(event_id = %target.event_id, chain = %target.chain, handler = target.handler, reason = ending.reason, detail = ending.detail, "a target ended without landing");
    core.metrics.dead_letters.with(&[ending.reason]).inc();
    let row = target.clone();
    core.ledger
        .write(Durability::Process, move |tx| {
            targets::end(tx, &row, &ending, clock::now_us())
        })
        .await?;
    core.aggregate
        .push(target.service_id, AggregatorWork::Callback(target.id), None);
    Ok(Next::Done)
}
