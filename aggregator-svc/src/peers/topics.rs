//! Keeps p2p-svc told which services take part, who their operators are, and whom this node speaks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::gossip::{GossipClient, MAX_SIGNERS, NetworkIdentity, Topic, TopicSet};
use wavs_ipc::{ErrorCode, Reconnecting, WireError};
use wavs_store::Durability;
use wavs_types::{EvmAddress, Hello, Record, ServiceId, Statement};

use crate::clock;
use crate::ledger::{announcements, meta};
use crate::pipeline::core::Core;
use crate::registry::directory::Entry;
use crate::registry::ledger_failed;

/// Deadline of one `sync`.
const SYNC_DEADLINE: Duration = Duration::from_secs(10);
/// The state is told again after so long at the latest.
const REPEAT: Duration = Duration::from_secs(30);
/// Shortest rest before keys without weight are to be asked about again, however many there are.
const RECHECK_REST: Duration = Duration::from_millis(500);
/// Shortest and longest rest after a failed `sync`.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How old a hello gets before it is renewed.
const HELLO_LIFE: Duration = Duration::from_secs(3_600);

/// What is remembered between two rounds.
#[derive(Default)]
struct Memory {
    identity: Option<NetworkIdentity>,
    hellos: BTreeMap<ServiceId, (Hello, u64, Vec<u8>)>,
}

/// Tells p2p-svc the state after every change and every reconnect, until `stop`.
pub(super) async fn run(
    core: Arc<Core>,
    gossip: Reconnecting<GossipClient>,
    mut services: Receiver<u64>,
    stop: CancellationToken,
) {
    let telling = async {
        let mut memory = Memory::default();
        let mut connected = gossip.connected();
        let mut rest = REST.0;
        loop {
            services.mark_unchanged();
            match sync(&core, &gossip, &mut memory).await {
                // The first answer says who this node is, which the hellos need.
                Ok(true) => {}
                Ok(false) => {
                    rest = REST.0;
                    connected.mark_unchanged();
                    // p2p-svc tells of keys again that are not in the table of those without weight any more.
                    let recheck = core.peers.operators.next_recheck();
                    let repeat = recheck.map_or(REPEAT, |at| at.saturating_duration_since(Instant::now()));
                    tokio::select! {
                        _ = services.changed() => {}
                        _ = connected.changed() => {}
                        () = core.peers.changed.notified() => {}
                        () = tokio::time::sleep(repeat.clamp(RECHECK_REST, REPEAT)) => {}
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the operators could not be told to p2p-svc; trying again");
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(REST.1);
                }
            }
        }
    };
    let _: Option<()> = stop.run_until_cancelled(telling).await;
}

/// Tells the state once. True when it has to be told again at once.
async fn sync(core: &Core, gossip: &Reconnecting<GossipClient>, memory: &mut Memory) -> Result<bool, WireError> {
    let generation = core
        .ledger
        .write(Durability::Process, meta::next_topics)
        .await
        .map_err(ledger_failed)?;
    let topics: Vec<_> = core
        .directory
        .services()
        .values()
        .filter(|entry| entry.aggregates())
        .map(|entry| topic(core, entry, memory))
        .collect();
    let joined = topics.iter().map(|topic: &Topic| topic.service_id).collect();
    let set = TopicSet { generation, topics };
    let answer = gossip
        .call(SYNC_DEADLINE, |client, cx| async move { client.sync(cx, set).await })
        .await;
    let identity = match answer {
        Ok(identity) => identity,
        Err(error) if error.code == ErrorCode::Conflict => {
            // p2p-svc knows a later generation: this ledger was restored from a copy. Leap past it.
            let now_ms = clock::now_ms();
            let leap = move |tx: &rusqlite::Transaction<'_>| meta::raise_topics(tx, now_ms);
            core.ledger
                .write(Durability::Process, leap)
                .await
                .map_err(ledger_failed)?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let is_new = memory.identity.as_ref() != Some(&identity);
    let lost = memory
        .identity
        .as_ref()
        .is_none_or(|known| known.store != identity.store);
    if lost {
        let store = identity.store;
        let again = core
            .ledger
            .write(Durability::Process, move |tx| {
                if meta::gossip_cursor(tx)?.store == store {
                    Ok(0)
                } else {
                    announcements::tell_again(tx)
                }
            })
            .await
            .map_err(ledger_failed)?;
        if again > 0 {
            tracing::info!(events = again, "p2p-svc has a new store; open events are told again");
        }
    }
    core.peers.joined.send_replace(joined);
    core.peers.wake();
    memory.identity = Some(identity);
    Ok(is_new)
}

fn topic(core: &Core, entry: &Entry, memory: &mut Memory) -> Topic {
    let service_id = entry.id();
    let operators = core.peers.operators.of(&service_id);
    let strangers = core.peers.operators.strangers(&service_id);
    Topic {
        service_id,
        signers: operators
            .iter()
            .take(MAX_SIGNERS)
            .map(|(signer, _)| signer.into_array())
            .collect(),
        strangers: strangers
            .into_iter()
            .take(MAX_SIGNERS)
            .map(EvmAddress::into_array)
            .collect(),
        ttl_secs: core.settings.collect_ttl(&service_id).as_secs(),
        hello: hello(core, entry, memory).unwrap_or_default(),
    }
}

/// This node's hello for a service, signed anew when it says something else or is old.
fn hello(core: &Core, entry: &Entry, memory: &mut Memory) -> Option<Vec<u8>> {
    let signer = entry.signer.as_ref().ok()?;
    let posts_on = match core.transactions.address() {
        Some(_) => core.directory.chains().keys().cloned().collect(),
        None => Vec::new(),
    };
    let said = Hello {
        peer_id: memory.identity.as_ref()?.peer_id.clone(),
        posts_on,
        agent: format!("wavs-node/{}", env!("CARGO_PKG_VERSION")),
    };
    let now_ms = clock::now_ms();
    let life = u64::try_from(HELLO_LIFE.as_millis()).unwrap_or(u64::MAX);
    if let Some((known, issued_ms, encoded)) = memory.hellos.get(&entry.id())
        && *known == said
        && now_ms.saturating_sub(*issued_ms) < life
    {
        return Some(encoded.clone());
    }
    let record = Record {
        service_id: entry.id(),
        issued_ms: now_ms,
        statement: Statement::Hello(said.clone()),
    };
    let signed = signer
        .sign_record(record)
        .inspect_err(|error| tracing::error!(service_id = %entry.id(), %error, "the hello could not be signed"))
        .ok()?;
    let encoded = signed.encoded().to_vec();
    memory.hellos.insert(entry.id(), (said, now_ms, encoded.clone()));
    Some(encoded)
}
