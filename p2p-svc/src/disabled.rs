//! The process while the network is switched off: it answers for a network which there is none of, so that the node has
//! its shape of five processes in every mode.

use tarpc::context::Context;
use wavs_ipc::contract::gossip::{
    Bytes, Gossip, GossipClient, InboxBatch, InboxCursor, NetworkIdentity, Publication, RecordVerdict, TopicSet,
};
use wavs_ipc::contract::lifecycle::{Lifecycle, LifecycleClient};
use wavs_ipc::contract::p2p_admin::{NetworkStatus, P2pAdmin, P2pAdminClient, PeerView};
use wavs_ipc::{ErrorCode, Identity, Role, Router, WireError, handler};
use wavs_service::Boot;
use wavs_service::config::P2pConfig;
use wavs_types::{B256, EventId, ServiceId};

/// Serves until the process is told to stop.
///
/// # Errors
/// Never.
pub async fn run(boot: Boot<P2pConfig>) -> anyhow::Result<()> {
    let ctl = Router::new(Identity::new(Role::P2p))
        .serve::<LifecycleClient, _, _>(handler!(Lifecycle, boot.lifecycle))
        .serve::<P2pAdminClient, _, _>(handler!(P2pAdmin, NoNetwork));
    let rpc = Router::new(Identity::new(Role::P2p)).serve::<GossipClient, _, _>(handler!(Gossip, NoNetwork));
    boot.notify.ready();
    let shutdown = boot.shutdown;
    let calls = async {
        if let Some(listener) = boot.rpc {
            rpc.run(listener, shutdown.cancelled()).await;
        }
    };
    tokio::join!(ctl.run(boot.ctl, shutdown.cancelled()), calls);
    Ok(())
}

/// What is known about a network that is switched off.
#[derive(Debug, Clone, Copy)]
struct NoNetwork;

fn off<T>() -> Result<T, WireError> {
    let text = "there is no network of operators: p2p is \"disabled\"; set p2p = { local = … } or { remote = … }";
    Err(WireError::never(ErrorCode::Unavailable, text))
}

impl P2pAdmin for NoNetwork {
    async fn network_status(self, _: Context) -> Result<NetworkStatus, WireError> {
        Ok(NetworkStatus::default())
    }

    async fn peers(self, _: Context) -> Result<Vec<PeerView>, WireError> {
        Ok(Vec::new())
    }
}

impl Gossip for NoNetwork {
    async fn sync(self, _: Context, _: TopicSet) -> Result<NetworkIdentity, WireError> {
        off()
    }

    async fn publish(self, _: Context, _: Publication) -> Result<(), WireError> {
        off()
    }

    async fn retire(self, _: Context, _: ServiceId, _: Vec<EventId>) -> Result<(), WireError> {
        off()
    }

    async fn pull(self, _: Context, _: InboxCursor, _: u32, _: u32) -> Result<InboxBatch, WireError> {
        off()
    }

    async fn verdict(self, _: Context, _: B256, _: RecordVerdict) -> Result<(), WireError> {
        off()
    }

    async fn ack(self, _: Context, _: InboxCursor) -> Result<(), WireError> {
        off()
    }

    async fn body(self, _: Context, _: ServiceId, _: B256, _: u32) -> Result<Option<Bytes>, WireError> {
        off()
    }
}
