//! Following a mined target until it is as deep as the chain's configuration asks for, or taken back by a reorganisation.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use wavs_store::{Durability, StoreError};
use wavs_types::ServiceId;

use super::core::Core;
use super::execute::LEDGER_REST;
use super::lane::{Due, Handler};
use super::schedule::Next;
use super::submit;
use crate::chain::Outcome;
use crate::clock;
use crate::ledger::State;
use crate::ledger::due::DueQuery;
use crate::ledger::targets::{self, TargetRow};

/// Rest when the transaction manager cannot tell.
const REST: Duration = Duration::from_secs(15);

/// The handler of the settle lane.
pub struct Settle(pub Arc<Core>);

impl Handler<i64> for Settle {
    fn run(&self, _: ServiceId, target: i64) -> BoxFuture<'static, Next> {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            settle(&core, target).await.unwrap_or_else(|cause| {
                tracing::error!(%cause, target, "a mined target could not be followed because of the ledger; it is tried again");
                Next::After(LEDGER_REST)
            })
        })
    }

    fn refill(&self, wanted: DueQuery) -> BoxFuture<'static, Option<Vec<Due<i64>>>> {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            let rows = core.ledger.read(move |conn| targets::mined_ones(conn, &wanted)).await;
            // The time in a mined row is of an earlier step.
            let now = |row| Due {
                at: None,
                ..Due::of(row)
            };
            Some(rows.ok()?.into_iter().map(now).collect())
        })
    }
}

async fn settle(core: &Core, id: i64) -> Result<Next, StoreError> {
    let target = core.ledger.read(move |conn| targets::load(conn, id)).await?;
    let Some(target) = target.filter(|target| target.state == State::Mined) else {
        return Ok(Next::Done);
    };
    match core.transactions.follow(&submit::key(&target)).await {
        Ok(Some(mut tracked)) => match tracked.finality().await {
            Outcome::Mined(tx) => finish(core, target, tx.hash.to_string(), State::Final).await,
            Outcome::LandedElsewhere(landed) => finish(core, target, landed.hash.to_string(), State::Landed).await,
            Outcome::Reverted { revert, .. } => {
                reopen(
                    core,
                    target,
                    format!("after a reorganisation it reverted with {revert}"),
                )
                .await
            }
            Outcome::Lost(reason) | Outcome::Refused(reason) => reopen(core, target, reason).await,
            Outcome::Interrupted => Ok(Next::Done),
        },
        Ok(None) => reopen(core, target, "its transaction is not in the ledger any more".to_owned()).await,
        Err(error) => {
            tracing::debug!(%error, target = id, "cannot follow a mined transaction now");
            Ok(Next::After(REST))
        }
    }
}

async fn finish(core: &Core, target: TargetRow, hash: String, state: State) -> Result<Next, StoreError> {
    core.ledger
        .write(Durability::Process, move |tx| {
            targets::mined(tx, &target, &hash, state, clock::now_us())
        })
        .await?;
    // The event may be over, of which the network is told.
    core.peers.wake();
    Ok(Next::Done)
}

async fn reopen(core: &Core, target: TargetRow, reason: String) -> Result<Next, StoreError> {
    tracing::warn!(event_id = %target.event_id, chain = %target.chain, reason, "a mined transaction was taken back; its target is open again");
    let (service, id) = (target.service_id, target.id);
    core.ledger
        .write(Durability::Process, move |tx| {
            targets::unmined(tx, &target, &reason, clock::now_us())
        })
        .await?;
    core.submit.push(service, id, None);
    Ok(Next::Done)
}
