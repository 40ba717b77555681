//! Endpoints: failover, the wrong chain, WebSocket alone, and chains that cannot be served.

use std::collections::BTreeMap;
use std::sync::Arc;

use wavs_types::{ChainConfig, CosmosChainConfig, EventId, EvmAddress, EvmChainConfig};

use super::anvil::Anvil;
use super::{chains, config, key};
use crate::chain::{ChainError, ChainMetrics, Chains, LandedQuery, Retry};

/// Nothing listens on the discard port.
const DEAD: &str = "http://127.0.0.1:9/v2/0123456789abcdef0123456789";

fn query() -> LandedQuery {
    LandedQuery {
        chain: key(),
        handler: EvmAddress::ZERO,
        event_id: EventId::new([0; 20]),
        since_block: u64::MAX - 1,
    }
}

#[tokio::test]
async fn a_live_endpoint_takes_over() {
    let anvil = Anvil::start().await;
    let chains = chains(EvmChainConfig {
        ws_endpoints: vec![anvil.ws()],
        ..config(DEAD)
    });
    assert_eq!(chains.landed(&query()).await.unwrap(), None);
    let health = &chains.health()[&key()];
    assert_eq!((health[0].state, health[1].state), ("failing", "ok"));
    assert!(health[1].head.is_some());
}

#[tokio::test]
async fn no_live_endpoint_is_an_error_without_keys() {
    let error = chains(config(DEAD)).landed(&query()).await.unwrap_err();
    assert!(matches!(error, ChainError::Unreachable { .. }));
    assert!(!error.to_string().contains("0123456789abcdef"), "{error}");
    assert_eq!(error.retry(), Retry::Backoff);
}

#[tokio::test]
async fn an_endpoint_of_another_chain_is_left_out() {
    let anvil = Anvil::with(testkit::Anvil::options().chain_id(5)).await;
    let chains = chains(config(&anvil.http()));
    for _ in 0..2 {
        let error = chains.landed(&query()).await.unwrap_err();
        assert!(
            matches!(
                error,
                ChainError::WrongChainId {
                    expected: 31337,
                    found: 5,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert_eq!(chains.health()[&key()][0].state, "wrong_chain_id");
}

#[tokio::test]
async fn a_chain_id_that_is_no_number_is_not_compared() {
    let anvil = Anvil::start().await;
    let chains = chains(EvmChainConfig {
        chain_id: "local".into(),
        ..config(&anvil.http())
    });
    assert_eq!(chains.evm(&key()).unwrap().pool.chain_id().await.unwrap(), 31337);
}

#[tokio::test]
async fn chains_that_cannot_be_served_say_so() {
    let chains = Chains::new(Arc::new(ChainMetrics::default()));
    let cosmos = ChainConfig::Cosmos(CosmosChainConfig::default());
    let bare = ChainConfig::Evm(EvmChainConfig {
        chain_id: "1".into(),
        ..EvmChainConfig::default()
    });
    chains.set(&BTreeMap::from([
        ("cosmos:hub".parse().unwrap(), cosmos),
        ("evm:1".parse().unwrap(), bare),
    ]));
    let of = |chain: &str| LandedQuery {
        chain: chain.parse().unwrap(),
        ..query()
    };
    let error = chains.landed(&of("cosmos:hub")).await.unwrap_err();
    assert!(error.to_string().contains("not served by this version"), "{error}");
    assert!(matches!(
        chains.landed(&of("evm:1")).await,
        Err(ChainError::NoEndpoint(_))
    ));
    assert!(matches!(chains.landed(&of("evm:2")).await, Err(ChainError::Unknown(_))));
    assert_eq!(error.retry(), Retry::Never);
}
