//! Finds out why a mined transaction had no effect, by running it again on the state before its block.

use alloy::primitives::{Address, Bytes};

use super::raw::Draft;
use super::rows::Row;
use crate::chain::endpoint::Fault;
use crate::chain::evm::EvmChain;
use crate::chain::revert::Revert;
use crate::chain::wire::{At, CallRequest};

/// What the transaction reverts with at the parent of `block`; a revert with a text when the replay tells nothing.
pub(super) async fn reason(chain: &EvmChain, account: Address, row: &Row, block: u64) -> Revert {
    let unknown = |why: &str| Revert {
        data: Bytes::new(),
        message: Some(why.to_owned()),
    };
    let Some(draft) = Draft::of(&row.raw) else {
        return unknown("the stored transaction cannot be read");
    };
    let request = CallRequest {
        from: Some(account),
        to: Some(draft.to),
        data: draft.input,
    };
    let at = At::Number(block.saturating_sub(1));
    let call = |rpc: crate::chain::evm::Rpc| {
        let request = request.clone();
        async move {
            match rpc.call(&request, at).await {
                Err(Fault::Revert(revert)) => Ok(Some(revert)),
                Ok(_) => Ok(None),
                Err(fault) => Err(fault),
            }
        }
    };
    match chain.on_one("eth_call", call).await {
        Ok(Some(revert)) => revert,
        Ok(None) => unknown("it was overtaken by another transaction in its block, or ran out of gas"),
        Err(_) => unknown("the endpoint keeps no state of that block"),
    }
}
