//! Who is an operator: service keys with weight at the service's manager, read on demand and again every minute.
//!
//! A key is looked up when something signed by it arrives, so there is no list to scan a chain for. Keys without weight are
//! remembered apart from the others, so that junk cannot push operators out, and asked about again after a rest that grows:
//! operators do speak a little before their registration is mined. While the chain cannot be read, known operators stay
//! known and new ones wait.

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
/// First and longest time for which a key without weight is not asked about again; it doubles with each lookup.
const STRANGER_REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Keys without weight that are remembered; the longest unseen goes first.
const MAX_STRANGERS: usize = 10_000;
/// Operators of one service that are remembered; a further one is not taken, which needs more operators than any manager has.
const MAX_OPERATORS: usize = 1_024;
/// How long an operator that was heard by the bridge counts as one that posts at once.
const BRIDGED_TIME: Duration = Duration::from_secs(3_600);
/// Keys in one request to a chain; a refresh of more takes several.
const MAX_LOOKUPS: usize = 64;

/// The operators of all services, in memory; the ledger has a copy for the next start.
pub struct Operators {
    inner: Mutex<Inner>,
}

struct Inner {
    known: BTreeMap<ServiceId, BTreeMap<EvmAddress, Option<Vec<ChainKey>>>>,
    strangers: LruCache<(ServiceId, EvmAddress), Stranger>,
    /// When an operator of generation 1 was heard last, by service: one entry for each that is bridged.
    bridged: BTreeMap<ServiceId, Instant>,
}

/// A key without weight.
#[derive(Debug, Clone, Copy)]
struct Stranger {
    /// Until when it is not asked about again.
    until: Instant,
    /// Lookups so far.
    lookups: u32,
}

impl Stranger {
    /// The same key after one more lookup in vain.
    fn again(known: Option<Self>, now: Instant) -> Self {
        let lookups = known.map_or(0, |known| known.lookups);
        let rest = STRANGER_REST
            .0
            .saturating_mul(1 << lookups.min(10))
            .min(STRANGER_REST.1);
        Self {
            until: now + rest,
            lookups: lookups.saturating_add(1),
        }
    }
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
        let (inner, now) = (self.lock(), Instant::now());
        let resting = |(key, stranger): (&(ServiceId, EvmAddress), &Stranger)| {
            (key.0 == *service && stranger.until > now).then_some(key.1)
        };
        inner.strangers.iter().filter_map(resting).collect()
    }

    /// When the next key without weight may be asked about again.
    #[must_use]
    pub fn next_recheck(&self) -> Option<Instant> {
        let (inner, now) = (self.lock(), Instant::now());
        let resting = inner.strangers.iter().map(|(_, stranger)| stranger.until);
        resting.filter(|until| *until > now).min()
    }

    /// There is news of the manager of a service: its keys without weight are asked about at once.
    pub fn recheck(&self, service: &ServiceId) {
        let (mut inner, now) = (self.lock(), Instant::now());
        for ((known, _), stranger) in &mut inner.strangers {
            if known == service {
                *stranger = Stranger { until: now, lookups: 0 };
            }
        }
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

/// Reads the weights of keys and takes them over. False when the chain could not be read, which changes nothing.
///
/// # Errors
/// When the ledger cannot be written.
pub(super) async fn look_up(
    core: &Core,
    service: ServiceId,
    signers: &BTreeSet<EvmAddress>,
) -> Result<bool, StoreError> {
    let Some(entry) = core.directory.get(&service) else {
        return Ok(true);
    };
    let ServiceManager::Evm { chain, address } = &entry.row.manager else {
        return Ok(true);
    };
    let mut weights = Vec::with_capacity(signers.len());
    let signers: Vec<_> = signers.iter().copied().collect();
    for some in signers.chunks(MAX_LOOKUPS) {
        match core.chains.operator_weights(chain, *address, some).await {
            Ok(read) => weights.extend(read),
            Err(error) => {
                tracing::warn!(service_id = %service, %error, "operators cannot be looked up now; known ones stay known");
                return Ok(false);
            }
        }
    }
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
                let key = (service, signer);
                let stranger = Stranger::again(inner.strangers.get(&key).copied(), Instant::now());
                inner.strangers.put(key, stranger);
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
    Ok(true)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_weight_is_asked_about_again_after_a_rest_that_grows() {
        let now = Instant::now();
        let mut known = None;
        let mut rests = Vec::new();
        for _ in 0..7 {
            let stranger = Stranger::again(known, now);
            rests.push((stranger.until - now).as_secs());
            known = Some(stranger);
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn news_of_a_manager_end_the_rest_of_its_keys_and_of_no_other() {
        let operators = Operators::default();
        let (one, other) = (ServiceId::new([1; 32]), ServiceId::new([2; 32]));
        let key = EvmAddress::repeat_byte(7);
        for service in [one, other] {
            let stranger = Stranger::again(None, Instant::now());
            operators.lock().strangers.put((service, key), stranger);
        }
        assert_eq!(operators.strangers(&one), [key]);
        operators.recheck(&one);
        assert!(operators.strangers(&one).is_empty());
        assert_eq!(operators.strangers(&other), [key]);
        assert!(operators.next_recheck().is_some());
    }
}
