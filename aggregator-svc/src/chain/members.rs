//! The weights of operators at a manager's newest block, for deciding whose records are worth looking at. Quorums are judged
//! at a block of their own.

use alloy::primitives::{Address, U256};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::contracts::IWavsServiceManager as Manager;
use super::endpoint::Fault;
use super::error::ChainError;
use super::evm::{EvmChain, Rpc};
use super::wire::At;

/// Lookups under way at once.
const LOOKUPS: usize = 8;

/// The weight behind each service key, all at one block; zero for a key of nobody.
pub(super) async fn weights(
    chain: &EvmChain,
    manager: Address,
    signers: &[Address],
) -> Result<Vec<(Address, U256)>, ChainError> {
    let read = |rpc: Rpc| async move {
        let head = rpc.head().await?;
        let at = rpc.pin(&head);
        let rpc = &rpc;
        stream::iter(signers.iter().copied())
            .map(|signer| async move { Ok::<_, Fault>((signer, weight(rpc, manager, signer, at).await?)) })
            .buffer_unordered(LOOKUPS)
            .try_collect()
            .await
    };
    chain.on_one("eth_call", read).await
}

async fn weight(rpc: &Rpc, manager: Address, signer: Address, at: At) -> Result<U256, Fault> {
    let call = Manager::getLatestOperatorForSigningKeyCall { signingKey: signer };
    let operator = match rpc.probe(manager, &call, at).await? {
        Some(operator) if operator.is_zero() => return Ok(U256::ZERO),
        Some(operator) => operator,
        // A manager without the lookup knows operators by their signing keys.
        None => signer,
    };
    let weight = rpc
        .probe(manager, &Manager::getOperatorWeightCall { operator }, at)
        .await?;
    Ok(weight.unwrap_or_default())
}
