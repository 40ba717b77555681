//! What a service manager says about operators and quorum at one reference block, and for how long that may be reused.
//!
//! Managers come in several forms; each optional getter is probed and its absence has a meaning of its own. Facts are reused for
//! a minute to guess which signers suffice; every guess is verified by `validate` at the pinned block before anything is sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, U256};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::gate::{OperatorView, Quorum, QuorumRule};
use crate::chain::contracts::{IStakeRegistry as Registry, IWavsServiceManager as Manager};
use crate::chain::endpoint::Fault;
use crate::chain::evm::Rpc;
use crate::chain::wire::At;

/// Life of cached handlers and managers.
const FRESH: Duration = Duration::from_secs(60);
/// Most cached handlers and managers per chain. When full all are dropped and read again.
const CACHED_MAX: usize = 1024;
/// Requests in flight while signers are looked up.
const LOOKUPS: usize = 16;

/// The quorum facts of one manager at one reference block.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Where history is kept: the stake registry, or the manager itself.
    registry: Address,
    total: Option<U256>,
    share: Option<(U256, U256)>,
    absolute: Option<U256>,
    rule: QuorumRule,
    /// What was found for each signer asked about; `None` for one that is no operator's key.
    views: BTreeMap<Address, Option<OperatorView>>,
}

impl Facts {
    /// The gate over a signed weight.
    pub(super) fn quorum(&self, signed: U256) -> Quorum {
        Quorum {
            signed,
            total: self.total,
            share: self.share,
            absolute: self.absolute,
            rule: self.rule,
        }
    }

    /// Those of `signers` that count; `None` when one of them was never looked up.
    pub(super) fn views(&self, signers: impl Iterator<Item = Address>) -> Option<Vec<OperatorView>> {
        let mut views = Vec::new();
        for signer in signers {
            views.extend(*self.views.get(&signer)?);
        }
        Some(views)
    }

    /// Where history is kept.
    pub(super) fn registry(&self) -> Address {
        self.registry
    }
}

/// What is remembered of a chain's handlers and managers.
#[derive(Default)]
pub(in crate::chain) struct ManagerCache {
    inner: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    handlers: HashMap<Address, (Address, Instant)>,
    facts: HashMap<Address, (Arc<Facts>, Instant)>,
    /// Whether contracts see the block number that the RPC reports.
    same_number: Option<bool>,
}

impl ManagerCache {
    /// The manager of a handler and its facts, if both were read within the last minute and the numbering is known to be plain.
    pub(super) fn guess(&self, handler: Address) -> Option<(Address, Arc<Facts>)> {
        let cached = self.lock();
        let (manager, read_at) = cached.handlers.get(&handler)?;
        let (facts, facts_read_at) = cached.facts.get(manager)?;
        let fresh = read_at.elapsed() < FRESH && facts_read_at.elapsed() < FRESH;
        (fresh && cached.same_number == Some(true)).then(|| (*manager, Arc::clone(facts)))
    }

    /// The history contract of a manager, if it was found before.
    pub(super) fn registry(&self, manager: Address) -> Option<Address> {
        self.lock().facts.get(&manager).map(|(facts, _)| facts.registry())
    }

    pub(super) fn keep(&self, handler: Address, manager: Address, facts: Facts, same_number: bool) {
        let mut cached = self.lock();
        if cached.handlers.len() >= CACHED_MAX || cached.facts.len() >= CACHED_MAX {
            cached.handlers.clear();
            cached.facts.clear();
        }
        let now = Instant::now();
        cached.handlers.insert(handler, (manager, now));
        cached.facts.insert(manager, (Arc::new(facts), now));
        cached.same_number = Some(same_number);
    }

    /// Forgets a handler and its manager after a guess turned out wrong.
    pub(super) fn forget(&self, handler: Address) {
        let mut cached = self.lock();
        if let Some((manager, _)) = cached.handlers.remove(&handler) {
            cached.facts.remove(&manager);
        }
        cached.same_number = None;
    }

    fn lock(&self) -> MutexGuard<'_, Cached> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds the contract that keeps a manager's history; `None` when there is no code at the manager.
pub(super) async fn find_registry(rpc: &Rpc, manager: Address, at: At) -> Result<Option<Address>, Fault> {
    let (no_code, registry) = futures::try_join!(
        rpc.code_is_empty(manager, at),
        rpc.probe(manager, &Manager::getStakeRegistryCall {}, at)
    )?;
    let registry = registry.filter(|registry| !registry.is_zero()).unwrap_or(manager);
    Ok((!no_code).then_some(registry))
}

/// Reads the facts for `signers` at reference block `block`, all pinned to the same state.
pub(super) async fn read_facts(
    rpc: &Rpc,
    manager: Address,
    registry: Address,
    block: u32,
    signers: &[Address],
    at: At,
) -> Result<Facts, Fault> {
    let total_call = Registry::getLastCheckpointTotalWeightAtBlockCall { blockNumber: block };
    let absolute_call = Registry::getLastCheckpointThresholdWeightAtBlockCall { blockNumber: block };
    let share_call = Manager::getLastCheckpointQuorumAtBlockCall { blockNumber: block };
    let views = stream::iter(signers.iter().copied())
        .map(|signer| async move {
            let view = view(rpc, manager, registry, block, signer, at).await?;
            Ok::<_, Fault>((signer, view))
        })
        .buffer_unordered(LOOKUPS)
        .try_collect::<BTreeMap<_, _>>();
    let (total, absolute, pinned_share, numerator, denominator, views) = futures::try_join!(
        rpc.probe(registry, &total_call, at),
        rpc.probe(registry, &absolute_call, at),
        rpc.probe(manager, &share_call, at),
        rpc.probe(manager, &Manager::quorumNumeratorCall {}, at),
        rpc.probe(manager, &Manager::quorumDenominatorCall {}, at),
        views,
    )?;
    // A manager that pins its quorum to a block is of the proof-of-authority form; all others compare by floor division.
    let (share, rule) = match pinned_share {
        Some(share) => (Some((share.numerator, share.denominator)), QuorumRule::Cross),
        None => (numerator.zip(denominator), QuorumRule::Floor),
    };
    Ok(Facts {
        registry,
        total,
        share,
        absolute,
        rule,
        views,
    })
}

/// The operator behind a signer and its weight, both at the reference block as far as the manager has history.
async fn view(
    rpc: &Rpc,
    manager: Address,
    registry: Address,
    block: u32,
    signer: Address,
    at: At,
) -> Result<Option<OperatorView>, Fault> {
    let pinned = Registry::getOperatorForSigningKeyAtBlockCall {
        signingKey: signer,
        blockNumber: U256::from(block),
    };
    let latest = Manager::getLatestOperatorForSigningKeyCall { signingKey: signer };
    let (pinned, latest) = futures::try_join!(rpc.probe(registry, &pinned, at), rpc.probe(manager, &latest, at))?;
    let operator = match (pinned, latest) {
        (Some(operator), _) => operator,
        (None, Some(operator)) => {
            let call = Registry::getOperatorSigningKeyAtBlockCall {
                operator,
                blockNumber: U256::from(block),
            };
            match rpc.probe(registry, &call, at).await? {
                // The latest operator of this key had another key at the reference block.
                Some(key) if key != signer => return Ok(None),
                _ => operator,
            }
        }
        // A manager without any lookup counts the signer itself as the operator.
        (None, None) => signer,
    };
    if operator.is_zero() {
        return Ok(None);
    }
    let pinned = Registry::getOperatorWeightAtBlockCall {
        operator,
        blockNumber: block,
    };
    let weight = match rpc.probe(registry, &pinned, at).await? {
        Some(weight) => weight,
        None => rpc
            .probe(manager, &Manager::getOperatorWeightCall { operator }, at)
            .await?
            .unwrap_or_default(),
    };
    Ok((!weight.is_zero()).then_some(OperatorView {
        signer,
        operator,
        weight,
    }))
}
