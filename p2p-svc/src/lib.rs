//! p2p-svc: the network of operators.
//!
//! Records that aggregator-svc signed are kept in the [`store`] and gossiped, one topic per service; records of others are
//! judged by the [`gate`] before they are forwarded or stored, and wait in the store until aggregator-svc has pulled them.
//! [`network`] owns the connections of our own generation, and [`wire`] has what is said on them and on every other wire
//! that runs beside it. This process never holds a signing key, never runs a guest, and calls no other process: who may
//! speak on which topic is pushed to it.

pub mod aside;
pub mod budget;
mod conduct;
mod connections;
pub mod disabled;
pub mod gate;
pub mod identity;
pub mod members;
pub mod metrics;
pub mod network;
pub mod service;
pub mod settings;
pub mod store;
pub mod wire;

#[cfg(test)]
mod testing;

use std::path::Path;
use std::sync::Arc;

use wavs_ipc::contract::gossip::{Gossip, GossipClient};
use wavs_ipc::contract::lifecycle::{Lifecycle, LifecycleClient};
use wavs_ipc::contract::p2p_admin::{P2pAdmin, P2pAdminClient};
use wavs_ipc::{Identity, Role, Router, handler};
use wavs_service::config::P2pConfig;
use wavs_service::sandbox::Profile;
use wavs_service::{Boot, Fatal, ProcessName};

use metrics::NetworkMetrics;
use service::GossipService;
use settings::Settings;
use store::Store;
use wire::Wire;
use wire::v1::{Bridge, BridgeSettings};

/// What p2p-svc may do: reach other operators, and keep its own state.
#[must_use]
pub fn profile(_: &P2pConfig, data_dir: &Path) -> Profile {
    Profile::internet().writes(&ProcessName::P2p.state_dir(data_dir))
}

/// Serves until the process is told to stop.
///
/// # Errors
/// When the configuration names an address that is none, the store cannot be opened, or the node cannot listen.
pub async fn run(boot: Boot<P2pConfig>) -> anyhow::Result<()> {
    let Some(settings) = Settings::read(&boot.config).map_err(|error| Fatal::config(error.to_string()))? else {
        return disabled::run(boot).await;
    };
    let bridge = BridgeSettings::read(&boot.config).map_err(|error| Fatal::config(error.to_string()))?;
    let state = ProcessName::P2p.state_dir(&boot.data_dir);
    let store = Store::open(&state.join("p2p.db")).await?;
    let keys = identity::load(boot.config.identity.as_ref(), &state)?;
    let metrics = Arc::new(NetworkMetrics::new(&boot.lifecycle.metrics));
    let status = boot.lifecycle.status.clone();
    status.fact("peer id", keys.public().to_peer_id());
    let (network, task) = network::start(
        settings,
        keys,
        store.clone(),
        Arc::clone(&metrics),
        boot.shutdown.clone(),
    )
    .await?;
    let mut service = GossipService::new(network, store.clone());
    if let Some(settings) = bridge {
        let bridge = Bridge::start(settings, store, metrics, boot.shutdown.clone());
        service = service.with(Wire::V1(bridge));
    }
    let routers = [
        (
            Router::new(Identity::new(Role::P2p))
                .serve::<LifecycleClient, _, _>(handler!(Lifecycle, boot.lifecycle.clone()))
                .serve::<P2pAdminClient, _, _>(handler!(P2pAdmin, service.clone())),
            Some(boot.ctl),
        ),
        (
            Router::new(Identity::new(Role::P2p)).serve::<GossipClient, _, _>(handler!(Gossip, service)),
            boot.rpc,
        ),
    ];
    boot.notify.ready();
    let serving = routers.into_iter().filter_map(|(router, listener)| {
        let shutdown = boot.shutdown.clone();
        listener.map(|listener| async move { router.run(listener, shutdown.cancelled()).await })
    });
    let serving = futures::future::join_all(serving);
    tokio::select! {
        // A network that ended by itself leaves a process that does nothing: end it, so that it is started again.
        ended = task => ended??,
        _ = serving => {}
    }
    Ok(())
}
