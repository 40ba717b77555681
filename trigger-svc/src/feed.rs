//! The contract with aggregator-svc.

use std::collections::BTreeSet;
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
use wavs_store::LogSize;
use wavs_types::{ChainConfig, ChainKey, ServiceManager};

use crate::health;
use crate::resolve::Resolver;
use crate::sources::Sources;
use crate::spool::{Beginning, Spool};
use crate::watch::Watch;

/// Time for asking a chain its height when a route on it is registered.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// What all contracts of this process act on.
#[derive(Clone)]
pub(crate) struct Feed {
    pub spool: Spool,
    pub sources: Arc<Mutex<Sources>>,
    pub watch: Arc<Mutex<Watch>>,
    /// Held while the desired state is replaced.
    pub syncing: Arc<Mutex<()>>,
    pub resolver: Resolver,
    pub status: StatusBoard,
    /// Ends long polls, so that a stop does not wait for them.
    pub shutdown: CancellationToken,
}

/// How often the spool is shortened to what it may remember.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
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
        let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
        let mut known: BTreeSet<ChainKey> = BTreeSet::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = sweeps.tick() => {
                    if let Err(error) = self.spool.forget_excess().await {
                        warn!(%error, "cannot shorten what the spool remembers; trying again later");
                    }
                    continue;
                }
            }
            match self.spool.size().await {
                Ok(size) => {
                    depth.store(size.entries, Ordering::Relaxed);
                    report_intake(&self.status, &self.spool, size);
                }
                Err(error) => self.status.degrade("spool", error.to_string()),
            }
            self.sources.lock().await.end_unused();
            let now = self.sources.lock().await.conditions();
            for gone in known.iter().filter(|chain| !now.contains_key(*chain)) {
                self.status.forget(&format!("chain:{gone}"));
            }
            for (chain, trouble) in &now {
                let part = format!("chain:{chain}");
                match trouble {
                    Some(reason) => self.status.degrade(part, format!("{chain}: {reason}")),
                    None => self.status.recover(&part),
                }
            }
            known = now.into_keys().collect();
        }
    }

    /// Replaces the desired state. Routes that are new start above the height that their chain has now: what is emitted
    /// after the answer fires.
    async fn replace(&self, set: &WatchSet) -> Result<(), WireError> {
        let _alone = self.syncing.lock().await;
        // Others read what is in force while chains are asked for their heights.
        let current = self.watch.lock().await.clone();
        if set.generation < current.generation {
            let detail = format!(
                "generation {} is older than {}, which is in force",
                set.generation, current.generation
            );
            return Err(WireError::never(ErrorCode::Conflict, detail));
        }
        let mut watch = Watch::from_wire(set, &current)?;
        let new_routes = watch.new_routes(&current);
        let beginnings = beginnings(&watch, &current, &new_routes).await;
        for place in new_routes {
            let Some(route) = watch.routes.get_mut(place) else {
                continue;
            };
            let chain = route.trigger.chain();
            let beginning = beginnings.iter().find(|beginning| Some(&beginning.chain) == chain);
            route.since = beginning.and_then(|beginning| beginning.head);
        }
        self.spool.store_watch(&watch, beginnings).await?;
        self.sources.lock().await.apply(&watch);
        info!(
            generation = watch.generation,
            routes = watch.routes.len(),
            managers = watch.managers.len(),
            "watching"
        );
        *self.watch.lock().await = watch;
        Ok(())
    }
}

/// Says whether anything can come in: sources stand still while the spool or the disk is full, and go on by themselves.
fn report_intake(status: &StatusBoard, spool: &Spool, size: LogSize) {
    let quota = spool.quota();
    let detail = if spool.waiting_for_disk() > 0 {
        "the disk is full: sources stand still until there is room; free some space".to_owned()
    } else if quota.is_reached(size) {
        format!(
            "the spool is full: {} entries with {} bytes wait for aggregator-svc (trigger.spool_max_entries = {}, \
             trigger.spool_max_mb = {}), and {} sources for room; they go on when aggregator-svc takes entries",
            size.entries,
            size.bytes,
            quota.entries,
            quota.bytes / (1024 * 1024),
            spool.waiting_for_room(),
        )
    } else {
        return status.recover("spool");
    };
    status.degrade("spool", detail);
}

/// The chains on which something is new, with the heights that they have now. Only these are asked: a chain that does not
/// answer holds up the registration of services on it, and no other.
async fn beginnings(watch: &Watch, previous: &Watch, new_routes: &BTreeSet<usize>) -> Vec<Beginning> {
    let routes = new_routes
        .iter()
        .filter_map(|place| watch.routes.get(*place)?.trigger.chain());
    let managers = watch.new_managers(previous).map(ServiceManager::chain);
    let chains: BTreeSet<_> = routes.chain(managers).collect();
    let used_before = previous.used_chains();
    let asking = chains.into_iter().map(async |chain| {
        let Some(ChainConfig::Evm(config)) = watch.chains.get(chain) else {
            return None;
        };
        let head = match tokio::time::timeout(HEAD_LIMIT, health::head(config)).await {
            Ok(Ok(head)) => Some(head),
            Ok(Err(error)) => {
                warn!(%chain, %error, "cannot ask the chain for its height; its new routes start where it was looked at last");
                None
            }
            Err(_) => {
                warn!(%chain, "the chain did not tell its height within {HEAD_LIMIT:?}; its new routes start where it was looked at last");
                None
            }
        };
        Some(Beginning {
            chain: chain.clone(),
            head,
            unused: !used_before.contains(chain),
        })
    });
    join_all(asking).await.into_iter().flatten().collect()
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

#[cfg(test)]
mod tests {
    use wavs_ipc::Json;
    use wavs_ipc::contract::lifecycle::Health;
    use wavs_ipc::contract::trigger_admin::Inject;
    use wavs_service::ProcessName;
    use wavs_types::{ServiceId, Trigger, TriggerConfig, TriggerData};

    use super::*;
    use crate::spool::Quota;

    #[tokio::test]
    async fn the_status_says_that_the_spool_is_full_until_entries_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Quota {
            entries: 2,
            bytes: 1_000_000,
        };
        let spool = Spool::open(dir.path().join("spool.db"), quota).await.unwrap();
        let status = StatusBoard::new(ProcessName::Trigger);
        let health = async || {
            report_intake(&status, &spool, spool.size().await.unwrap());
            status.snapshot().health
        };
        assert_eq!(health().await, Health::Running);
        let config = TriggerConfig {
            service_id: ServiceId::new([7; 32]),
            workflow_id: "one".parse().unwrap(),
            trigger: Trigger::Manual,
        };
        spool
            .inject(Inject {
                id: 1,
                config: Json::encode(&config).unwrap(),
                data: vec![Json::encode(&TriggerData::Raw(vec![1])).unwrap()],
                count: 2,
            })
            .await
            .unwrap();
        let Health::Degraded { reasons } = health().await else {
            panic!("a full spool is not reported")
        };
        assert!(reasons[0].contains("trigger.spool_max_entries = 2"), "{reasons:?}");
        let batch = spool.pull(SpoolCursor::default(), 1, Duration::ZERO).await.unwrap();
        let taken = SpoolCursor {
            spool: batch.spool,
            seq: 1,
        };
        spool.ack(taken).await.unwrap();
        assert_eq!(health().await, Health::Running);
    }
}
