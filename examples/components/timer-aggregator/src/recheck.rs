//! Asks a chain whether an event is still part of it.

use std::fmt::Write as _;

use aggregator_kit::host;
use aggregator_kit::wavs_types::events::TriggerDataEvmContractEvent;
use serde_json::{Value, json};

/// Whether the transaction of the event is in the block that it was seen in.
pub fn still_in_block(event: &TriggerDataEvmContractEvent) -> Result<bool, String> {
    let chain = &event.chain;
    let config = host::get_evm_chain_config(chain).ok_or_else(|| format!("no chain config for {chain}"))?;
    let endpoint = config
        .http_endpoint
        .ok_or_else(|| format!("chain {chain} has no http endpoint"))?;
    let request = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_getTransactionByHash",
        "params": [hex(&event.log.tx_hash)],
    });
    let response = http_kit::post_json(&endpoint, request.to_string().as_bytes())?;
    let reply: Value = serde_json::from_slice(&response.body)
        .map_err(|error| format!("chain {chain} answered {} without JSON: {error}", response.status))?;
    in_block(&reply, &hex(&event.log.block_hash)).map_err(|error| format!("chain {chain} answered {error}"))
}

/// Reads a reply: `result` is null for an unknown transaction, its `blockHash` is null while it is pending.
fn in_block(reply: &Value, block_hash: &str) -> Result<bool, String> {
    match reply.get("result") {
        Some(result) => Ok(result.get("blockHash").and_then(Value::as_str) == Some(block_hash)),
        None => Err(reply.to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_block_counts() {
        let reply = |hash: Value| json!({"jsonrpc": "2.0", "id": 1, "result": {"blockHash": hash}});
        assert_eq!(in_block(&reply(json!("0xaa")), &hex(&[0xaa])), Ok(true));
        assert_eq!(in_block(&reply(json!("0xbb")), "0xaa"), Ok(false));
        assert_eq!(in_block(&reply(Value::Null), "0xaa"), Ok(false));
        assert_eq!(in_block(&json!({"result": null}), "0xaa"), Ok(false));
        assert!(in_block(&json!({"error": {"code": -32000}}), "0xaa").is_err());
    }
}
