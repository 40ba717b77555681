//! Hands what is to be told to p2p-svc, in order, until it is on disk there; and tells which events are over.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::TryStreamExt as _;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::gossip::{GossipClient, MAX_RETIRED, Publication};
use wavs_ipc::{Reconnecting, Retry, WireError};
use wavs_store::{Durability, StoreError};
use wavs_types::{
    Attestation, B256, CanonicalSignature, EventId, Landed, Record, RecordBody, ServiceId, SignedRecord, Statement,
};

use crate::clock;
use crate::ledger::announcements::{self, News, Outgoing};
use crate::ledger::{buckets, events, signed, targets};
use crate::pipeline::core::Core;
use crate::registry::ledger_failed;

/// Entries read at once.
const BATCH: usize = 64;
/// Calls to p2p-svc under way at once.
const IN_FLIGHT: usize = 16;
/// Deadline of one call.
const DEADLINE: Duration = Duration::from_secs(10);
/// Rest after a failure.
const REST: Duration = Duration::from_millis(500);
/// What is over is looked for so often at the latest.
const LOOK: Duration = Duration::from_secs(30);

/// Tells what is to be told until `stop`.
pub(super) async fn run(core: Arc<Core>, gossip: Reconnecting<GossipClient>, stop: CancellationToken) {
    let telling = async {
        loop {
            match tell_all(&core, &gossip).await {
                Ok(()) => drop(tokio::time::timeout(LOOK, core.peers.news.notified()).await),
                Err(error) => {
                    tracing::debug!(%error, "news could not be told to p2p-svc; trying again");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    };
    let _: Option<()> = stop.run_until_cancelled(telling).await;
}

async fn tell_all(core: &Core, gossip: &Reconnecting<GossipClient>) -> Result<(), WireError> {
    loop {
        let batch = core
            .ledger
            .read(|conn| announcements::oldest(conn, BATCH))
            .await
            .map_err(ledger_failed)?;
        if batch.is_empty() {
            break;
        }
        futures::stream::iter(batch.into_iter().map(Ok))
            .try_for_each_concurrent(IN_FLIGHT, |outgoing| tell(core, gossip, outgoing))
            .await?;
    }
    retire(core, gossip).await
}

async fn tell(core: &Core, gossip: &Reconnecting<GossipClient>, outgoing: Outgoing) -> Result<(), WireError> {
    let seq = outgoing.seq;
    let event_id = outgoing.event_id;
    let mut told_of = None;
    if let Some((record, body)) = compose(core, &outgoing).await.map_err(ledger_failed)? {
        told_of = Some(record.record().service_id);
        let publication = Publication {
            record: record.encoded().to_vec(),
            body,
        };
        let result = gossip
            .call(
                DEADLINE,
                |client, cx| async move { client.publish(cx, publication).await },
            )
            .await;
        match result {
            Ok(()) => {}
            Err(error) if error.retry == Retry::Never => {
                tracing::error!(%event_id, %error, "other operators cannot be told about an event");
            }
            Err(error) => return Err(error),
        }
    }
    core.ledger
        .write(Durability::Process, move |tx| {
            if let Some(service_id) = told_of {
                announcements::gossiped(tx, &service_id, &event_id)?;
            }
            announcements::told(tx, seq)
        })
        .await
        .map_err(ledger_failed)
}

/// The record and body for an entry; nothing when there is nothing to tell any more.
async fn compose(core: &Core, outgoing: &Outgoing) -> Result<Option<(SignedRecord, Vec<u8>)>, StoreError> {
    match outgoing.news {
        News::Signed(digest) => attestation(core, outgoing.event_id, digest).await,
        News::Landed(target) => Ok(landed(core, target).await?.map(|record| (record, Vec::new()))),
    }
}

async fn attestation(
    core: &Core,
    event_id: EventId,
    digest: B256,
) -> Result<Option<(SignedRecord, Vec<u8>)>, StoreError> {
    let event = core.ledger.read(move |conn| events::load(conn, &event_id)).await?;
    let Some(event) = event.filter(|event| !event.state.is_terminal()) else {
        return Ok(None);
    };
    let Some(entry) = core.directory.get(&event.service_id) else {
        return Ok(None);
    };
    let current = entry.pin.1;
    let loaded = core.ledger.read(move |conn| {
        let signed = signed::load(conn, &current, &event_id)?;
        let Some((address, signed)) = signed.filter(|(_, signed)| signed.digest == digest) else {
            return Ok(None);
        };
        let signed_us = signed::signed_us(conn, &address, &event_id)?;
        let bucket = buckets::load(conn, &event_id, &digest)?;
        Ok(signed_us
            .zip(bucket)
            .map(|(signed_us, bucket)| (address, signed, signed_us, bucket)))
    });
    let Some((address, signed, signed_us, bucket)) = loaded.await? else {
        return Ok(None);
    };
    // An event that was signed before a rotation stays with the key that signed it, and so does its record.
    let Some(signer) = core.directory.signer(&entry, &address) else {
        return Ok(None);
    };
    let Ok(signature) = CanonicalSignature::canonicalise(&signed.signature) else {
        return Ok(None);
    };
    let body = RecordBody::encode(&bucket.action, &bucket.response);
    let record = Record {
        service_id: event.service_id,
        // The time of signing, so that telling it again makes the same bytes.
        issued_ms: signed_us / 1_000,
        statement: Statement::Attestation(Attestation {
            workflow_id: event.workflow_id,
            event_id,
            digest,
            kind: bucket.kind,
            signature,
            body_digest: RecordBody::digest(&body),
        }),
    };
    Ok(sign(&signer, record).map(|record| (record, body)))
}

async fn landed(core: &Core, id: i64) -> Result<Option<SignedRecord>, StoreError> {
    let Some(target) = core.ledger.read(move |conn| targets::load(conn, id)).await? else {
        return Ok(None);
    };
    let (Some(tx), Some(signer)) = (target.tx, signer_of(core, &target.service_id)) else {
        return Ok(None);
    };
    let record = Record {
        service_id: target.service_id,
        issued_ms: clock::now_ms(),
        statement: Statement::Landed(Landed {
            event_id: target.event_id,
            digest: target.digest,
            chain: target.chain,
            handler: target.handler,
            tx,
        }),
    };
    Ok(sign(&signer, record))
}

fn signer_of(core: &Core, service: &ServiceId) -> Option<Arc<crate::keys::ServiceSigner>> {
    core.directory.get(service)?.signer.as_ref().ok().cloned()
}

fn sign(signer: &crate::keys::ServiceSigner, record: Record) -> Option<SignedRecord> {
    let service_id = record.service_id;
    signer
        .sign_record(record)
        .inspect_err(|error| tracing::error!(%service_id, %error, "a record for other operators could not be signed"))
        .ok()
}

/// Tells which events are over.
async fn retire(core: &Core, gossip: &Reconnecting<GossipClient>) -> Result<(), WireError> {
    loop {
        let over = core
            .ledger
            .read(|conn| announcements::over(conn, MAX_RETIRED))
            .await
            .map_err(ledger_failed)?;
        if over.is_empty() {
            return Ok(());
        }
        let mut by_service: std::collections::BTreeMap<ServiceId, Vec<EventId>> = std::collections::BTreeMap::new();
        for (service, event) in over {
            by_service.entry(service).or_default().push(event);
        }
        for (service, events) in by_service {
            let told = events.clone();
            gossip
                .call(
                    DEADLINE,
                    |client, cx| async move { client.retire(cx, service, told).await },
                )
                .await?;
            core.ledger
                .write(Durability::Process, move |tx| announcements::retired(tx, &events))
                .await
                .map_err(ledger_failed)?;
        }
    }
}
