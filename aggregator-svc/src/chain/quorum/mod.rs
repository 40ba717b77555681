//! Judges a collected set of signatures against the manager of a handler, at one pinned block.
//!
//! One attempt reads everything from one endpoint at one block, chooses the reference block and the smallest sufficient
//! set, asks `validate` and estimates the handler call. With warm caches that is two rounds of requests: the head, then all the
//! rest at once on the guess that nothing changed, which the same round verifies; attempts at one block share what is the same for
//! all. It never signs or sends anything.

mod assess;
mod gate;
mod manager;
mod pinned;
mod reference;

use std::fmt;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};
use wavs_types::{ChainKey, Envelope};

pub(super) use assess::assess;
pub use gate::{OperatorView, Quorum, QuorumRule};
pub(super) use manager::ManagerCache;
pub(super) use pinned::PinnedCache;

use super::revert::Revert;
use super::transactions::FeeQuote;

/// Most signatures of one envelope that are weighed; the rest is ignored. Far above any operator set in use; it bounds the
/// requests of one attempt.
pub const MAX_SIGNATURES: usize = 256;

/// A signature that the pipeline accepted: recovered and canonical (r, s, v with v 27 or 28, low s).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectedSignature {
    /// The address recovered from it.
    pub signer: Address,
    /// `r || s || v`.
    pub signature: [u8; 65],
}

/// What to judge.
#[derive(Debug, Clone, Copy)]
pub struct AssessRequest<'a> {
    /// The target chain.
    pub chain: &'a ChainKey,
    /// The handler contract there.
    pub handler: Address,
    /// The envelope that all signatures sign.
    pub envelope: &'a Envelope,
    /// What was collected for it, in any order.
    pub signatures: &'a [CollectedSignature],
    /// Signers that were evicted from this event before.
    pub quarantined: &'a [Address],
    /// The account that would post; without one the handler call is not simulated.
    pub poster: Option<Address>,
}

/// The block that an attempt is pinned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Height as the RPC reports it; the base of landed scans.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// `block.number` as contracts see it there.
    pub contract_number: u64,
}

/// The answer of one attempt.
#[derive(Debug, Clone)]
pub struct Assessment {
    /// What to do.
    pub verdict: Verdict,
    /// The block it was judged at.
    pub snapshot: Snapshot,
    /// The manager that the handler names.
    pub manager: Address,
    /// The weights behind the verdict.
    pub quorum: Quorum,
    /// Signers that must be quarantined for this event; the verdict is about the others.
    pub evicted: Vec<Address>,
    /// What to post; present exactly when the verdict is [`Verdict::Sufficient`].
    pub ready: Option<ReadyCall>,
    /// When another attempt can have another result without a new signature.
    pub retry_after: Duration,
}

/// What a set of signatures is worth at the pinned block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The manager accepts it.
    Sufficient,
    /// Not enough weight yet: keep collecting.
    BelowQuorum,
    /// The manager knows no weight at all: retry slowly.
    NoOperators,
    /// No usable reference block yet: retry after about one block.
    WaitForBlock,
    /// The registry contradicts itself: alarm, retry slowly.
    RegistryInconsistent(Revert),
    /// The manager refuses the form of the set, which is a defect of this node: alarm.
    Malformed(Revert),
    /// The manager reverts with something that is no verdict: back off and retry.
    ManagerFault(Revert),
}

/// A handler call that the manager accepts.
#[derive(Debug, Clone)]
pub struct ReadyCall {
    /// The target chain.
    pub chain: ChainKey,
    /// The handler contract.
    pub handler: Address,
    /// Call data of `handleSignedEnvelope`.
    pub input: Bytes,
    /// The reference block in it.
    pub reference_block: u32,
    /// The signers in it, ascending.
    pub signers: Vec<Address>,
    /// What the call would do.
    pub simulation: Simulation,
    /// Height that it was judged at.
    pub judged_at: u64,
    /// Fees at that height.
    pub(in crate::chain) fees: FeeQuote,
}

/// What the handler would do with a call now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Simulation {
    /// It would succeed with so much gas.
    Passed {
        /// Estimate without a margin.
        gas: u64,
    },
    /// It would revert although `validate` passes: look for a landing by somebody else, then retry a few times.
    Reverted(Revert),
    /// There is no posting account to simulate with.
    NotRun,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sufficient => write!(f, "quorum reached"),
            Self::BelowQuorum => write!(f, "below quorum; waiting for more signatures"),
            Self::NoOperators => write!(
                f,
                "the service manager has no operators with weight; register operators there"
            ),
            Self::WaitForBlock => write!(f, "no usable reference block yet; waiting for the chain to advance"),
            Self::RegistryInconsistent(revert) => {
                write!(
                    f,
                    "the operator registry contradicts itself ({revert}); inspect the registry contract"
                )
            }
            Self::Malformed(revert) => {
                write!(
                    f,
                    "the service manager refused the form of the signature set ({revert}); report this defect"
                )
            }
            Self::ManagerFault(revert) => {
                write!(
                    f,
                    "validate() of the service manager failed with {revert}; inspect the manager contract"
                )
            }
        }
    }
}
