//! The contract with aggregator-svc.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tarpc::context::Context;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wavs_ipc::contract::trigger_feed::{
    MAX_PULL_WAIT_MS, ResolveService, ResolvedService, SpoolBatch, SpoolCursor, TriggerFeed, WatchSet,
};
use wavs_ipc::{ErrorCode, WireError};
use wavs_service::StatusBoard;
use wavs_types::{ChainConfig, ChainKey};

use crate::health;
use crate::resolve::Resolver;
use crate::sources::Sources;
use crate::spool::Spool;
use crate::watch::Watch;

/// Time for asking a chain its height when a route on it is registered.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// What all contracts of this process act on.
#[derive(Clone)]
pub(crate) struct Feed {
    pub spool: Spool,
    pub sources: Arc<Mutex<Sources>>,
    pub watch: Arc<Mutex<Watch>>,
    pub resolver: Resolver,
    pub status: StatusBoard,
    /// Ends long polls, so that a stop does not wait for them.
    pub shutdown: CancellationToken,
}

/// How often the status board is brought up to date.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl Feed {
    /// Keeps the status board up to date: chains without connection, the depth of the spool.
    pub(crate) async fn report(self) {
        let depth = Arc::new(AtomicU64::new(0));
        let shown = Arc::clone(&depth);
        self.status.queue("spool", self.spool.quota().entries, move || {
            shown.load(Ordering::Relaxed)
        });
        let mut ticks = tokio::time::interval(REPORT_INTERVAL);
        let mut troubled = BTreeSet::new();
        loop {
            ticks.tick().await;
            match self.spool.size().await {
                Ok(size) => {
                    depth.store(size.entries, Ordering::Relaxed);
                    self.status.recover("spool");
                }
                Err(error) => self.status.degrade("spool", error.to_string()),
            }
            let now: BTreeMap<_, _> = self.sources.lock().await.troubled().into_iter().collect();
            for chain in troubled.iter().filter(|chain| !now.contains_key(*chain)) {
                self.status.recover(&format!("chain:{chain}"));
            }
            for (chain, reason) in &now {
                self.status
                    .degrade(format!("chain:{chain}"), format!("{chain}: {reason}"));
            }
            troubled = now.into_keys().collect();
        }
    }

    /// Replaces the desired state. Routes that are new start above the height that their chain has now: what is emitted
    /// after the answer fires.
    async fn replace(&self, set: &WatchSet) -> Result<(), WireError> {
        let mut current = self.watch.lock().await;
        if set.generation < current.generation {
            let detail = format!(
                "generation {} is older than {}, which is in force",
                set.generation, current.generation
            );
            return Err(WireError::never(ErrorCode::Conflict, detail));
        }
        let mut watch = Watch::from_wire(set, &current)?;
        let heads = heads_of_new_routes(&watch).await;
        for route in watch.routes.iter_mut().filter(|route| route.since.is_none()) {
            let chain = route.trigger.chain();
            route.since = chain
                .and_then(|chain| heads.iter().find(|(key, _)| key == chain))
                .map(|(_, head)| *head);
        }
        self.spool.store_watch(&watch, heads).await?;
        self.sources.lock().await.apply(&watch);
        info!(
            generation = watch.generation,
            routes = watch.routes.len(),
            managers = watch.managers.len(),
            "watching"
        );
        *current = watch;
        Ok(())
    }
}

/// The heights of the chains on which a route has just been registered. A chain out of reach is left out.
async fn heads_of_new_routes(watch: &Watch) -> Vec<(ChainKey, u64)> {
    let mut chains: Vec<_> = watch
        .routes
        .iter()
        .filter(|route| route.since.is_none())
        .filter_map(|route| route.trigger.chain())
        .collect();
    chains.extend(watch.managers.iter().map(|(_, manager)| manager.chain()));
    chains.sort();
    chains.dedup();
    let heads = chains.into_iter().map(async |chain| {
        let Some(ChainConfig::Evm(config)) = watch.chains.get(chain) else { return None };
        match tokio::time::timeout(HEAD_LIMIT, health::head(config)).await {
            Ok(Ok(head)) => Some((chain.clone(), head)),
            Ok(Err(error)) => {
                warn!(%chain, %error, "cannot ask the chain for its height; its routes start where its cursor is");
                None
            }
            Err(_) => {
                warn!(%chain, "the chain did not tell its height within {HEAD_LIMIT:?}; its routes start where its cursor is");
                None
            }
        }
    });
    join_all(heads).await.into_iter().flatten().collect()
}

impl TriggerFeed for Feed {
    async fn sync(self, _: Context, watch: WatchSet) -> Result<(), WireError> {
        self.replace(&watch).await
    }

    async fn pull(self, _: Context, after: SpoolCursor, max: u32, wait_ms: u32) -> Result<SpoolBatch, WireError> {
        let wait = Duration::from_millis(wait_ms.min(MAX_PULL_WAIT_MS).into());
        tokio::select! {
            batch = self.spool.pull(after, max, wait) => Ok(batch?),
            () = self.shutdown.cancelled() => Err(WireError::backoff(ErrorCode::Draining, "trigger-svc is stopping")),
        }
    }

    async fn ack(self, _: Context, upto: SpoolCursor) -> Result<(), WireError> {
        Ok(self.spool.ack(upto).await?)
    }

    async fn resolve_service(self, _: Context, request: ResolveService) -> Result<ResolvedService, WireError> {
        self.resolver.resolve(request).await
    }
}
