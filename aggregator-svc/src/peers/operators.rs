//! Who is an operator: service keys with weight at the service's manager, read on demand and again every minute.
//!
//! A key is looked up when something signed by it arrives, so there is no list to scan a chain for. Keys without weight are
//! remembered for a while apart from the others, so that junk cannot push operators out. While the chain cannot be read,
//! known operators stay known and new ones wait.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio_util::sync::CancellationToken;
use wavs_store::{Durability, StoreError};
use wavs_types::{ChainKey, EvmAddress, ServiceId, ServiceManager};

use crate::ledger::operators::{self, OperatorRow};
use crate::pipeline::core::Core;

/// How often weights are read again.
const REFRESH: Duration = Duration::from_secs(60);
/// How long a key without weight is not asked about again.
const STRANGER_TIME: Duration = Duration::from_secs(30);
/// Keys without weight that are remembered; the longest unseen goes first.
const MAX_STRANGERS: usize = 10_000;
/// Operators of one service that are remembered; a further one is not taken, which needs more operators than any manager has.
const MAX_OPERATORS: usize = 1_024;
/// How long an operator that was heard by the bridge counts as one that posts at once.
const BRIDGED_TIME: Duration = Duration::from_secs(3_600);
/// Keys in one round of lookups; the others come with the next record.
const MAX_LOOKUPS: usize = 64;

/// The operators of all services, in memory; the ledger has a copy for the next start.
pub struct Operators {
    inner: Mutex<Inner>,
}

struct Inner {
    known: BTreeMap<ServiceId, BTreeMap<EvmAddress, Option<Vec<ChainKey>>>>,
    strangers: LruCache<(ServiceId, EvmAddress), Instant>,
    /// When an operator of generation 1 was heard last, by service: one entry for each that is bridged.
    bridged: BTreeMap<ServiceId, Instant>,
}

impl Default for Operators {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                known: BTreeMap::new(),
                bridged: BTreeMap::new(),
                strangers: LruCache::new(NonZeroUsize::new(MAX_STRANGERS).unwrap_or(NonZeroUsize::MIN)),
            }),
        }
    }
}

impl Operators {
    /// Reads the copy in the ledger.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn load(core: &Core) -> Result<(), StoreError> {
        let rows = core.ledger.read(operators::all).await?;
        let mut inner = core.peers.operators.lock();
        for row in rows {
            inner
                .known
                .entry(row.service_id)
                .or_default()
                .insert(row.signer, row.posts_on);
        }
        Ok(())
    }

    /// Whether a key is that of an operator with weight, as far as is known.
    #[must_use]
    pub fn is_operator(&self, service: &ServiceId, signer: &EvmAddress) -> bool {
        self.lock()
            .known
            .get(service)
            .is_some_and(|known| known.contains_key(signer))
    }

    /// The operators of a service, ascending, each with where it says to post.
    #[must_use]
    pub fn of(&self, service: &ServiceId) -> Vec<(EvmAddress, Option<Vec<ChainKey>>)> {
        let inner = self.lock();
        let known = inner.known.get(service).into_iter().flatten();
        known.map(|(signer, posts_on)| (*signer, posts_on.clone())).collect()
    }

    /// Keys of a service that were looked up lately and have no weight.
    #[must_use]
    pub fn strangers(&self, service: &ServiceId) -> Vec<EvmAddress> {
        let inner = self.lock();
        let fresh = |(key, at): (&(ServiceId, EvmAddress), &Instant)| {
            (key.0 == *service && at.elapsed() < STRANGER_TIME).then_some(key.1)
        };
        inner.strangers.iter().filter_map(fresh).collect()
    }

    /// An operator of a service was heard by the bridge to generation 1.
    pub(super) fn heard_by_bridge(&self, service: ServiceId) {
        self.lock().bridged.insert(service, Instant::now());
    }

    /// Whether a service has operators of generation 1, as far as they were heard lately. They do not take turns.
    #[must_use]
    pub fn has_bridged(&self, service: &ServiceId) -> bool {
        let inner = self.lock();
        inner.bridged.get(service).is_some_and(|at| at.elapsed() < BRIDGED_TIME)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An operator said where it posts.
///
/// # Errors
/// When the ledger cannot be written.
pub(super) async fn heard(
    core: &Core,
    service: ServiceId,
    signer: EvmAddress,
    posts_on: Vec<ChainKey>,
) -> Result<(), StoreError> {
    {
        let mut inner = core.peers.operators.lock();
        let Some(known) = inner.known.get_mut(&service).and_then(|known| known.get_mut(&signer)) else {
            return Ok(());
        };
        if known.as_ref() == Some(&posts_on) {
            return Ok(());
        }
        *known = Some(posts_on.clone());
    }
    let row = OperatorRow {
        service_id: service,
        signer,
        posts_on: Some(posts_on),
    };
    core.ledger
        .write(Durability::Process, move |tx| operators::put(tx, &row))
        .await
}

/// Reads the weights of keys and takes them over.
///
/// # Errors
/// When the ledger cannot be written. A chain that cannot be read changes nothing.
pub(super) async fn look_up(core: &Core, service: ServiceId, signers: &BTreeSet<EvmAddress>) -> Result<(), StoreError> {
    let Some(entry) = core.directory.get(&service) else {
        return Ok(());
    };
    let ServiceManager::Evm { chain, address } = &entry.row.manager else {
        return Ok(());
    };
    let signers: Vec<_> = signers.iter().take(MAX_LOOKUPS).copied().collect();
    let weights = match core.chains.operator_weights(chain, *address, &signers).await {
        Ok(weights) => weights,
        Err(error) => {
            tracing::warn!(service_id = %service, %error, "operators cannot be looked up now; known ones stay known");
            return Ok(());
        }
    };
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    {
        let mut inner = core.peers.operators.lock();
        for (signer, weight) in weights {
            let count = inner.known.get(&service).map_or(0, BTreeMap::len);
            let known = inner.known.entry(service).or_default();
            if weight.is_zero() {
                if known.remove(&signer).is_some() {
                    removed.push(signer);
                }
                inner.strangers.put((service, signer), Instant::now());
            } else if !known.contains_key(&signer) && count < MAX_OPERATORS {
                known.insert(signer, None);
                inner.strangers.pop(&(service, signer));
                added.push(signer);
            }
        }
    }
    for signer in &added {
        tracing::info!(service_id = %service, operator = %signer, "an operator has weight");
    }
    for signer in &removed {
        tracing::warn!(service_id = %service, operator = %signer, "an operator has no weight any more");
    }
    core.ledger
        .write(Durability::Process, move |tx| {
            for signer in added {
                let row = OperatorRow {
                    service_id: service,
                    signer,
                    posts_on: None,
                };
                operators::put(tx, &row)?;
            }
            removed
                .iter()
                .try_for_each(|signer| operators::remove(tx, &service, signer))
        })
        .await?;
    core.peers.changed.notify_one();
    Ok(())
}

/// Reads the weights of all known operators, and of this node, again and again until `stop`.
pub(super) async fn refresh(core: Arc<Core>, stop: CancellationToken) {
    let mut timer = tokio::time::interval(REFRESH);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(timer.tick()).await.is_some() {
        for (service, entry) in core.directory.services().iter() {
            let mut signers: BTreeSet<_> = core
                .peers
                .operators
                .of(service)
                .into_iter()
                .map(|(signer, _)| signer)
                .collect();
            signers.extend(entry.signer.as_ref().ok().map(|signer| signer.address()));
            if let Err(cause) = look_up(&core, *service, &signers).await {
                tracing::warn!(%cause, "weights of operators could not be stored; they are read again");
            }
        }
    }
}
