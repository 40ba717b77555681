//! Everything that reads or writes a target chain: RPC endpoints, quorum verdicts and the transaction manager.
//!
//! Data flows in two calls. [`Chains::assess`] pins one block, weighs the collected signatures, asks the manager's
//! `validate` and estimates the handler call in the same round of requests; its [`Assessment`] says what to do next and
//! carries a [`ReadyCall`] when there is something to post. [`Transactions::submit`] reserves a nonce, signs, stores the
//! raw transaction durably, broadcasts it and follows it until it is mined and then final; [`Tracked`] is the handle.
//!
//! The module keeps no event state (the pipeline owns that) and never sees a signing key of a service: the posting key is
//! behind [`PostingSigner`]. Error texts never hold a URL's path, query or credentials.

mod chains;
mod contracts;
mod endpoint;
mod error;
mod evm;
mod gather;
mod health;
mod landed;
mod members;
mod metrics;
mod pool;
mod quorum;
mod redact;
mod registration;
mod revert;
mod transactions;
mod wire;

#[cfg(test)]
mod tests;

pub use chains::Chains;
pub(crate) use contracts::IWavsServiceManager;
pub use error::{BACKOFF_MAX, BACKOFF_MIN, ChainError, Retry};
pub use landed::{LandedQuery, LandedTx};
pub use metrics::ChainMetrics;
pub use pool::EndpointHealth;
pub use quorum::{
    AssessRequest, Assessment, CollectedSignature, MAX_SIGNATURES, OperatorView, Quorum, QuorumRule, ReadyCall,
    Simulation, Snapshot, Verdict,
};
pub use registration::Registration;
pub use revert::{Revert, RevertClass};
pub use transactions::{
    AccountState, Along, Funds, MinedTx, Outcome, PostingSigner, SignRefused, SubmitError, SubmitRequest, TX_SCHEMA,
    Tracked, Transactions,
};
