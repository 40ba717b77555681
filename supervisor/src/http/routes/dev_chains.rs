//! `POST /dev/chains`: a chain that the configuration does not have.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use wavs_ipc::Json;
use wavs_types::{ChainConfig, ChainKey};

use crate::http::api::{Api, READ};
use crate::http::body::JsonBody;
use crate::http::problem::Problem;

/// Body of the request.
#[derive(Debug, Deserialize)]
pub struct AddChain {
    chain: ChainKey,
    config: ChainConfig,
}

/// Adds a chain; it survives restarts.
pub async fn add(State(api): State<Api>, JsonBody(body): JsonBody<AddChain>) -> Result<StatusCode, Problem> {
    check(&body.chain, &body.config)
        .map_err(|detail| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "chain-config-invalid", detail))?;
    let AddChain { chain, config } = body;
    let text = Json::encode(&config).map_err(|error| Problem::internal(error.detail))?;
    let key = chain.clone();
    let added = api
        .registry(READ, async |client, context| {
            client.add_chain(context, chain, text).await
        })
        .await;
    added.map_err(|error| {
        let problem = Problem::from(error);
        match problem.code {
            "conflict" | "chain-exists" => Problem {
                code: "chain-exists",
                detail: format!("Chain already exists: {key}"),
                ..problem
            },
            _ => problem,
        }
    })?;
    Ok(StatusCode::OK)
}

fn check(chain: &ChainKey, config: &ChainConfig) -> Result<(), String> {
    let fits = match chain.namespace() {
        "dev" => true,
        namespace => namespace == config.family(),
    };
    if !fits {
        let (namespace, family) = (chain.namespace(), config.family());
        return Err(format!(
            "Chain type mismatch: {chain} is in the namespace {namespace}, its config is of type {family}"
        ));
    }
    if chain.namespace() != "dev" && chain.id() != config.chain_id() {
        return Err(format!(
            "Chain ID mismatch: the key says {}, the config says {}",
            chain.id(),
            config.chain_id()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_configuration_must_fit() {
        let config =
            r#"{"type":"evm","chain_id":"1337","ws_endpoints":["ws://h:8546"],"http_endpoint":"http://h:8545"}"#;
        let config: ChainConfig = serde_json::from_str(config).unwrap();
        for (key, expect) in [
            ("evm:1337", None),
            ("dev:anything", None),
            ("evm:1", Some("Chain ID mismatch")),
            ("cosmos:1337", Some("Chain type mismatch")),
            ("other:1337", Some("Chain type mismatch")),
        ] {
            let error = check(&key.parse().unwrap(), &config).err();
            assert_eq!(error.is_some(), expect.is_some(), "{key}: {error:?}");
            assert!(error.unwrap_or_default().contains(expect.unwrap_or_default()));
        }
    }
}
