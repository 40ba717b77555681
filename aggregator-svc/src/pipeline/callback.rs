//! Telling the aggregator component how a target ended: `handle-submit-callback`, at least once, after the outcome is
//! durable. A callback that keeps failing is given up with a log line; it changes nothing on chain.

use wavs_ipc::contract::engine::{AggregatorCall, TxHash};
use wavs_store::StoreError;

use super::aggregate::{self, CallId, Called};
use super::core::Core;
use super::quarantine::{self, Culprit};
use super::run::Ran;
use super::schedule::Next;
use super::verdict::{self, Verdict};
use crate::clock;
use crate::ledger::executions::{self, Execution};
use crate::ledger::targets::{self, TargetRow};
use crate::ledger::{State, buckets};

/// Delivers the callback of a target if it is due.
///
/// # Errors
/// When the ledger cannot be read or written.
pub(super) async fn deliver(core: &Core, id: i64) -> Result<Next, StoreError> {
    let Some(target) = core
        .ledger
        .read(move |conn| targets::load(conn, id))
        .await?
        .filter(|target| target.callback_due)
    else {
        return Ok(Next::Done);
    };
    let (event_id, digest) = (target.event_id, target.digest);
    let Some(bucket) = core
        .ledger
        .read(move |conn| buckets::load(conn, &event_id, &digest))
        .await?
    else {
        return Ok(Next::Done);
    };
    let run = CallId {
        event_id,
        digest,
        tag: b"callback",
        row: id,
        tries: target.callback,
    };
    let call = AggregatorCall::Submitted(outcome(&target));
    let Ran {
        result,
        execution,
        culprit,
        alone: _alone,
    } = match aggregate::call(core, &bucket, run, call).await {
        Called::Ran(ran) => ran,
        Called::Paused => return Ok(Next::Done),
        Called::Removed(_) => return done(core, &target, None, None).await,
    };
    let Err(fault) = result else {
        return done(core, &target, execution, None).await;
    };
    match verdict::of(fault, target.callback) {
        Verdict::Final(ending) => {
            tracing::warn!(service_id = %bucket.service_id, %event_id, reason = ending.reason, detail = ending.detail, "a submit callback failed for good");
            done(core, &target, execution, culprit).await
        }
        Verdict::Wait(delay) => Ok(Next::After(delay)),
        Verdict::Again { vain, delay } => {
            let next_ms = clock::ms_after(delay);
            quarantine::commit(core, culprit, move |tx| {
                executions::record_some(tx, execution.as_deref())?;
                targets::callback_again(tx, id, vain, next_ms)
            })
            .await?;
            Ok(Next::After(delay))
        }
    }
}

/// The outcome as the guest sees it.
fn outcome(target: &TargetRow) -> Result<TxHash, String> {
    let landed = matches!(target.state, State::Mined | State::Final | State::Landed);
    match target.tx.as_deref().filter(|_| landed) {
        Some(tx) => {
            let mut hash = [0_u8; 32];
            match hex::decode_to_slice(tx.trim_start_matches("0x"), &mut hash) {
                Ok(()) => Ok(TxHash::Evm(hash)),
                Err(_) => Ok(TxHash::Cosmos(tx.to_owned())),
            }
        }
        None => Err(target.error.clone().unwrap_or_else(|| target.state.to_string())),
    }
}

async fn done(
    core: &Core,
    target: &TargetRow,
    execution: Option<Box<Execution>>,
    culprit: Option<Culprit>,
) -> Result<Next, StoreError> {
    let (id, attempt) = (target.id, target.callback.attempt);
    quarantine::commit(core, culprit, move |tx| {
        executions::record_some(tx, execution.as_deref())?;
        targets::callback_done(tx, id, attempt)
    })
    .await?;
    Ok(Next::Done)
}
