//! The contract with the supervisor.

use futures::future::join_all;
use tarpc::context::Context;
use wavs_ipc::contract::trigger_admin::{ChainHealth, ChainStatus, Inject, TriggerAdmin};
use wavs_ipc::{Json, WireError};
use wavs_types::ChainConfig;

use crate::feed::Feed;
use crate::health;

impl TriggerAdmin for Feed {
    async fn inject(self, _: Context, request: Inject) -> Result<(), WireError> {
        self.spool.inject(request).await
    }

    async fn streams(self, _: Context) -> Result<Json<serde_json::Value>, WireError> {
        Json::encode(&self.sources.lock().await.streams())
    }

    async fn chain_health(self, _: Context) -> Result<Vec<ChainHealth>, WireError> {
        let chains = self.watch.lock().await.chains.clone();
        let probes = chains.into_iter().map(async |(chain, config)| match config {
            ChainConfig::Evm(config) => {
                let result = health::probe(&config).await;
                ChainHealth {
                    chain,
                    head: result.as_ref().ok().copied(),
                    error: result.err(),
                }
            }
            ChainConfig::Cosmos(_) => {
                let error = Some("this version does not serve Cosmos chains".to_owned());
                ChainHealth {
                    chain,
                    head: None,
                    error,
                }
            }
        });
        Ok(join_all(probes).await)
    }

    async fn chains(self, _: Context) -> Result<Vec<ChainStatus>, WireError> {
        let chains = self.watch.lock().await.chains.clone();
        Ok(self.sources.lock().await.chains(&chains))
    }
}
