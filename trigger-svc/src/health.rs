//! Whether a chain can be used, asked of its endpoints directly.

use std::time::Duration;

use alloy::providers::Provider;
use alloy::rpc::types::SyncStatus;
use futures::future::{join_all, select_ok};
use wavs_types::EvmChainConfig;

use crate::chain_rpc::{ChainError, ChainRpc};

/// Time for one endpoint.
const ENDPOINT_LIMIT: Duration = Duration::from_secs(5);

/// The height of a chain, from whichever endpoint answers first.
///
/// # Errors
/// The error of the last endpoint when none answers.
pub(crate) async fn head(config: &EvmChainConfig) -> Result<u64, ChainError> {
    let asking: Vec<_> = endpoints(config)
        .map(|(url, http)| {
            Box::pin(async move {
                let rpc = if http {
                    ChainRpc::connect_http(url, config).await?
                } else {
                    ChainRpc::connect_ws(url, config).await?
                };
                rpc.head().await
            })
        })
        .collect();
    if asking.is_empty() {
        return Err(no_endpoint());
    }
    select_ok(asking).await.map(|(head, _)| head)
}

/// Probes all endpoints at once: the chain is healthy when at least one reports a block, the configured chain id, a gas
/// price, and is not syncing. Answers the highest block, or all reasons.
///
/// # Errors
/// One reason per endpoint, as text for people.
pub(crate) async fn probe(config: &EvmChainConfig) -> Result<u64, String> {
    let probes = endpoints(config).map(async |(url, http)| {
        tokio::time::timeout(ENDPOINT_LIMIT, probe_endpoint(url, http, config))
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "{}: no answer within {ENDPOINT_LIMIT:?}",
                    wavs_types::redacted_url(url)
                ))
            })
    });
    let results = join_all(probes).await;
    match results.iter().filter_map(|result| result.as_ref().ok()).max() {
        Some(head) => Ok(*head),
        None if results.is_empty() => Err(no_endpoint().to_string()),
        None => Err(results
            .into_iter()
            .filter_map(Result::err)
            .collect::<Vec<_>>()
            .join("; ")),
    }
}

async fn probe_endpoint(url: &str, http: bool, config: &EvmChainConfig) -> Result<u64, String> {
    let text = |error: ChainError| error.to_string();
    let rpc = if http {
        ChainRpc::connect_http(url, config).await
    } else {
        ChainRpc::connect_ws(url, config).await
    }
    .map_err(text)?;
    let head = rpc.head().await.map_err(text)?;
    rpc.ask("eth_gasPrice", rpc.provider().get_gas_price())
        .await
        .map_err(text)?;
    match rpc.ask("eth_syncing", rpc.provider().syncing()).await.map_err(text)? {
        SyncStatus::None => Ok(head),
        SyncStatus::Info(_) => Err(format!("{}: the endpoint is still syncing", rpc.endpoint())),
    }
}

fn endpoints(config: &EvmChainConfig) -> impl Iterator<Item = (&str, bool)> {
    let http = config.http_endpoint.iter().map(|url| (url.as_str(), true));
    http.chain(config.ws_endpoints.iter().map(|url| (url.as_str(), false)))
}

fn no_endpoint() -> ChainError {
    ChainError::Rpc {
        endpoint: "the chain".to_owned(),
        what: "connect",
        cause: "no endpoint is configured; set http_endpoint or ws_endpoints".to_owned(),
        refusal: None,
    }
}
