//! Tests against a real node (anvil), with scripted contracts where a fixed answer is the point and the example
//! contracts where verification is. Each test starts its own chain.

mod anvil;
mod burst;
mod endpoints;
mod faults;
mod fees;
mod funds;
mod nonces;
mod quorum;
mod real;
mod reorgs;
mod scripted;
mod setup;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use wavs_types::{ChainConfig, ChainKey, Envelope, EventId, EvmChainConfig};

use super::{ChainMetrics, Chains, CollectedSignature, PostingSigner, SignRefused};

/// The first key of the mnemonic that development chains fund.
const FUNDED_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const CHAIN_ID: u64 = 31337;

struct Key(PrivateKeySigner);

impl Key {
    fn funded() -> Arc<Self> {
        Arc::new(Self(FUNDED_KEY.parse().unwrap()))
    }
}

impl PostingSigner for Key {
    fn address(&self) -> Address {
        self.0.address()
    }

    fn sign_hash(&self, hash: &B256) -> Result<Signature, SignRefused> {
        self.0
            .sign_hash_sync(hash)
            .map_err(|error| SignRefused(error.to_string()))
    }
}

fn key() -> ChainKey {
    "evm:31337".parse().unwrap()
}

fn config(http: &str) -> EvmChainConfig {
    EvmChainConfig {
        chain_id: CHAIN_ID.to_string(),
        http_endpoint: Some(http.to_owned()),
        request_timeout_secs: 5,
        receipt_deadline_secs: Some(1),
        submit_confirmations: wavs_types::SubmitConfirmations::Depth(2),
        ..EvmChainConfig::default()
    }
}

fn chains(config: EvmChainConfig) -> Chains {
    let chains = Chains::new(Arc::new(ChainMetrics::default()));
    chains.set(&BTreeMap::from([(key(), ChainConfig::Evm(config))]));
    chains
}

fn envelope(n: u8) -> Envelope {
    Envelope::new(EventId::new([n; 20]), None, Bytes::from_static(b"payload"))
}

/// Signatures whose bytes are never verified: scripted managers answer whatever they are told to.
fn signatures(signers: &[u8]) -> Vec<CollectedSignature> {
    signers
        .iter()
        .map(|n| CollectedSignature {
            signer: Address::repeat_byte(*n),
            signature: [*n; 65],
        })
        .collect()
}
