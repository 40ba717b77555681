//! p2p-svc: the network of operators.
//!
//! This version knows the mode `disabled` alone: the process answers for the network, which there is none of, so that the
//! node has its final shape of five processes. It never holds a signing key and never runs a guest.

use tarpc::context::Context;
use wavs_ipc::contract::lifecycle::{Lifecycle, LifecycleClient};
use wavs_ipc::contract::p2p_admin::{NetworkStatus, P2pAdmin, P2pAdminClient};
use wavs_ipc::{Identity, Role, Router, WireError, handler};
use wavs_service::config::{P2pConfig, P2pMode};
use wavs_service::{Boot, Fatal};

/// Serves until the process is told to stop.
///
/// # Errors
/// When the configuration asks for a network.
pub async fn run(boot: Boot<P2pConfig>) -> anyhow::Result<()> {
    if boot.config.mode != P2pMode::Disabled {
        let text = "p2p: this version has no network between operators yet; set p2p = \"disabled\" or leave it out";
        return Err(Fatal::config(text.to_owned()).into());
    }
    let identity = Identity::new(Role::P2p);
    let router = Router::new(identity)
        .serve::<LifecycleClient, _, _>(handler!(Lifecycle, boot.lifecycle))
        .serve::<P2pAdminClient, _, _>(handler!(P2pAdmin, NoNetwork));
    let rpc = boot.rpc;
    boot.notify.ready();
    router.run(boot.ctl, boot.shutdown.cancelled()).await;
    // Held until here, so that a caller queues instead of being refused while the process starts again.
    drop(rpc);
    Ok(())
}

/// What is known about a network that is switched off.
#[derive(Debug, Clone, Copy)]
struct NoNetwork;

impl P2pAdmin for NoNetwork {
    async fn network_status(self, _: Context) -> Result<NetworkStatus, WireError> {
        Ok(NetworkStatus::default())
    }
}
