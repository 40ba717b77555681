//! Fetches the body of an envelope that other operators signed and this node has no result for, so that it can aggregate
//! and follow the event all the same.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use rusqlite::Transaction;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::gossip::GossipClient;
use wavs_ipc::{Reconnecting, WireError};
use wavs_store::Durability;
use wavs_types::RecordBody;

use crate::clock;
use crate::ledger::buckets::NewBucket;
use crate::ledger::events::{self, NewEvent};
use crate::ledger::parked::{self, Wanted};
use crate::ledger::{announcements, buckets, done};
use crate::pipeline::collect;
use crate::pipeline::core::{AggregatorWork, Core};
use crate::registry::ledger_failed;

/// Bodies fetched at once.
const IN_FLIGHT: usize = 8;
/// Longest wait for a body.
const WAIT: Duration = Duration::from_secs(10);
/// Time on top of it for the call.
const MARGIN: Duration = Duration::from_secs(5);
/// Rest when there is nothing to fetch; a new wish ends it.
const IDLE: Duration = Duration::from_secs(60);
/// First and longest rest before a body is looked for again.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Fetches until `stop`.
pub(super) async fn run(core: Arc<Core>, gossip: Reconnecting<GossipClient>, stop: CancellationToken) {
    let fetching = async {
        loop {
            let rest = fetch_due(&core, &gossip).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "bodies could not be fetched; trying again");
                REST.0
            });
            let _ = tokio::time::timeout(rest, core.peers.wanted.notified()).await;
        }
    };
    let _: Option<()> = stop.run_until_cancelled(fetching).await;
}

/// Fetches what is due and answers when to look again.
async fn fetch_due(core: &Core, gossip: &Reconnecting<GossipClient>) -> Result<Duration, WireError> {
    let wanted = core
        .ledger
        .read(|conn| parked::wanted(conn, IN_FLIGHT))
        .await
        .map_err(ledger_failed)?;
    let now_ms = clock::now_ms();
    let next_ms = wanted
        .iter()
        .map(|one| one.due_ms)
        .filter(|due_ms| *due_ms > now_ms)
        .min();
    let due: FuturesUnordered<_> = wanted
        .into_iter()
        .filter(|one| one.due_ms <= now_ms)
        .map(|one| fetch(core, gossip, one))
        .collect();
    if due.is_empty() {
        return Ok(next_ms.map_or(IDLE, |next_ms| Duration::from_millis(next_ms - now_ms)));
    }
    let results: Vec<_> = due.collect().await;
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(Duration::ZERO)
}

async fn fetch(core: &Core, gossip: &Reconnecting<GossipClient>, wanted: Wanted) -> Result<(), WireError> {
    let (service, digest) = (wanted.parked.service_id, wanted.parked.body_digest);
    let wait_ms = u32::try_from(WAIT.as_millis()).unwrap_or(u32::MAX);
    let found = gossip
        .call(WAIT + MARGIN, |client, cx| async move {
            client.body(cx, service, digest, wait_ms).await
        })
        .await?;
    let said = wanted.parked.attestation().ok();
    let opened = found
        .zip(said)
        .map(|(bytes, said)| RecordBody::open(&bytes.0, &service, &said));
    let (event_id, envelope) = (wanted.parked.event_id, wanted.parked.digest);
    let body = match opened {
        Some(Ok(body)) => body,
        Some(Err(error)) => {
            tracing::warn!(%event_id, operator = %wanted.parked.signature.signer, %error, "an operator signed a body that its envelope does not follow from");
            return postpone(core, &wanted).await;
        }
        None => return postpone(core, &wanted).await,
    };
    let ttl = core.settings.collect_ttl(&service);
    let limit = core.settings.max_open_events(&service);
    let bucket = NewBucket {
        event_id,
        digest: envelope,
        response: body.response,
        action: body.action_text,
        kind: wanted.parked.kind,
    };
    let workflow_id = wanted.parked.workflow_id.clone();
    let adopted = core
        .ledger
        .write(Durability::Process, move |tx| {
            if done::closed(tx, &event_id)?.is_some() {
                return parked::take(tx, &event_id, &envelope).map(|_| Adopted::Closed);
            }
            let is_known = events::load(tx, &event_id)?.is_some();
            if !is_known && events::open_of_others(tx, &service)? >= limit {
                return Ok(Adopted::Full);
            }
            let now_us = clock::now_us();
            let event = NewEvent {
                event_id,
                service_id: service,
                workflow_id,
                own_digest: None,
                deadline_ms: clock::ms_after(ttl),
            };
            events::insert(tx, &event, now_us)?;
            buckets::insert(tx, &bucket)?;
            announcements::gossiped(tx, &service, &event_id)?;
            adopt(tx, &bucket, now_us)?;
            Ok(Adopted::Open)
        })
        .await
        .map_err(ledger_failed)?;
    match adopted {
        Adopted::Closed => {}
        // Its signatures stay parked, and it is looked at again until they are forgotten.
        Adopted::Full => return postpone(core, &wanted).await,
        Adopted::Open => core
            .aggregate
            .push(service, AggregatorWork::Input(event_id, envelope), None),
    }
    Ok(())
}

/// What became of a body.
enum Adopted {
    /// Its event was over already.
    Closed,
    /// As many events that only others signed are open as one service may have.
    Full,
    /// Its event is open now.
    Open,
}

/// Moves the parked signatures for an envelope into its bucket.
///
/// # Errors
/// When the ledger cannot be written.
pub fn adopt(tx: &Transaction<'_>, bucket: &NewBucket, now_us: u64) -> rusqlite::Result<()> {
    for signature in parked::take(tx, &bucket.event_id, &bucket.digest)? {
        collect::accept(tx, bucket, &signature, now_us)?;
    }
    Ok(())
}

async fn postpone(core: &Core, wanted: &Wanted) -> Result<(), WireError> {
    let rest = REST.0.saturating_mul(1 << wanted.attempt.min(10)).min(REST.1);
    let (event_id, digest, due_ms) = (wanted.parked.event_id, wanted.parked.digest, clock::ms_after(rest));
    core.ledger
        .write(Durability::Process, move |tx| {
            parked::again(tx, &event_id, &digest, due_ms)
        })
        .await
        .map_err(ledger_failed)
}
