//! trigger-svc: watches chains, clocks and feeds, and keeps what they emit in a durable spool.
//!
//! [`watch`] is the desired state that aggregator-svc states; [`sources`] make it real; [`spool`] keeps what they see
//! until aggregator-svc has taken it; [`resolve`] fetches service documents. The process calls nobody but chains and
//! document servers, and holds no secret but the keys inside endpoint URLs.

mod admin;
mod chain_rpc;
mod clock;
mod feed;
mod health;
mod metrics;
mod resolve;
mod sources;
mod spool;
mod watch;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Mutex;
use wavs_fetch::{AddressPolicy, AllowEntry, Fetcher, Gateways, Verify};
use wavs_ipc::contract::lifecycle::{Lifecycle, LifecycleClient};
use wavs_ipc::contract::trigger_admin::{TriggerAdmin, TriggerAdminClient};
use wavs_ipc::contract::trigger_feed::{TriggerFeed, TriggerFeedClient};
use wavs_ipc::{Identity, Role, Router, handler};
use wavs_service::config::{IpfsVerify, TriggerConfig};
use wavs_service::sandbox::Profile;
use wavs_service::{Boot, Fatal, ProcessName};

use feed::Feed;
use metrics::Metrics;
use resolve::Resolver;
use sources::{Options, Sources};
use spool::{Quota, Spool};

/// What trigger-svc may do: reach chains and documents, and keep its own state.
#[must_use]
pub fn profile(config: &TriggerConfig, data_dir: &Path) -> Profile {
    let profile = Profile::internet().writes(&ProcessName::Trigger.state_dir(data_dir));
    if config.fetch.allow_file {
        // The operator lets documents name any file.
        profile.reads(Path::new("/"))
    } else {
        profile
    }
}

/// Serves until the process is told to stop.
///
/// # Errors
/// When the spool cannot be opened or the configuration does not hold together.
pub async fn run(boot: Boot<TriggerConfig>) -> anyhow::Result<()> {
    let Boot {
        config,
        data_dir,
        ctl,
        rpc,
        shutdown,
        notify,
        lifecycle,
        ..
    } = boot;
    let rpc = rpc.context("trigger-svc needs its rpc socket")?;
    let quota = Quota {
        entries: config.spool_max_entries,
        bytes: config.spool_max_bytes,
    };
    let state = ProcessName::Trigger.state_dir(&data_dir);
    let spool = Spool::open(state.join("spool.db"), quota)
        .await
        .context("cannot open the spool")?;
    let watch = spool
        .load_watch()
        .await
        .context("cannot read what was watched before")?;
    let mut sources = Sources::new(spool.clone(), Metrics::new(&lifecycle.metrics), Options::new(&config));
    // Work goes on at once, from what was wanted before the restart.
    sources.apply(&watch);
    let feed = Feed {
        spool,
        sources: Arc::new(Mutex::new(sources)),
        watch: Arc::new(Mutex::new(watch)),
        syncing: Arc::default(),
        resolver: resolver(&config)?,
        status: lifecycle.status.clone(),
        shutdown: shutdown.clone(),
    };

    let identity = Identity::new(Role::Trigger);
    let rpc_router = Router::new(identity).serve::<TriggerFeedClient, _, _>(handler!(TriggerFeed, feed.clone()));
    let ctl_router = Router::new(identity)
        .serve::<LifecycleClient, _, _>(handler!(Lifecycle, lifecycle))
        .serve::<TriggerAdminClient, _, _>(handler!(TriggerAdmin, feed.clone()));
    let reporting = tokio::spawn(feed.report());
    notify.ready();
    tokio::join!(
        rpc_router.run(rpc, shutdown.cancelled()),
        ctl_router.run(ctl, shutdown.cancelled())
    );
    reporting.abort();
    Ok(())
}

fn verify(configured: IpfsVerify) -> Verify {
    match configured {
        IpfsVerify::Require => Verify::Require,
        IpfsVerify::Prefer => Verify::Prefer,
        IpfsVerify::Off => Verify::Off,
    }
}

/// Where documents may come from. With development endpoints it is the node itself that serves them.
fn document_policy(allowed: Vec<AllowEntry>, dev_endpoints: bool, own_ports: Vec<u16>) -> AddressPolicy {
    let policy = AddressPolicy::new(allowed);
    if dev_endpoints {
        policy.with_loopback(true)
    } else {
        policy.without_own_ports(own_ports)
    }
}

fn resolver(config: &TriggerConfig) -> anyhow::Result<Resolver> {
    let fetch = &config.fetch;
    let allowed = fetch
        .allow_hosts
        .iter()
        .map(|line| line.parse())
        .collect::<Result<Vec<_>, _>>();
    let allowed = allowed.map_err(|error| Fatal::config(format!("fetch.allow_hosts: {error}")))?;
    let gateways = Gateways::parse(fetch.ipfs_gateways.iter().map(String::as_str));
    let gateways = gateways.map_err(|error| Fatal::config(format!("ipfs_gateway: {error}")))?;
    let policy = document_policy(allowed, config.dev_endpoints, config.own_ports.clone());
    Ok(Resolver::new(
        Fetcher::new(policy, gateways).verifying(verify(fetch.ipfs_verify)),
        fetch.timeout,
        fetch.allow_file,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_from_the_node_itself_only_when_it_serves_them_or_an_entry_says_so() {
        for (entry, dev_endpoints, own, other) in [
            (None, false, false, false),
            (None, true, true, true),
            (Some("127.0.0.0/8"), false, false, true),
            (Some("127.0.0.1"), true, true, true),
            (Some("127.0.0.1:8000"), false, true, false),
        ] {
            let allowed = entry.into_iter().map(|line| line.parse().unwrap()).collect();
            let policy = document_policy(allowed, dev_endpoints, vec![8000]);
            let permits = |port| policy.permits("127.0.0.1", [127, 0, 0, 1].into(), port);
            assert_eq!(
                (permits(8000), permits(8001)),
                (own, other),
                "{entry:?} {dev_endpoints}"
            );
        }
    }
}
