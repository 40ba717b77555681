//! The process with its sockets.

use std::path::Path;

use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::engine::{Engine, EngineClient};
use wavs_ipc::contract::engine_admin::{EngineAdmin, EngineAdminClient};
use wavs_ipc::contract::lifecycle::{Lifecycle, LifecycleClient};
use wavs_ipc::socket::Listener;
use wavs_ipc::{Identity, Role, Router, handler};
use wavs_service::config::EngineConfig;
use wavs_service::{Boot, Fatal, LifecycleServer};

use crate::node::Node;
use crate::settings::Settings;

/// Runs engine-svc until it is told to stop.
///
/// # Errors
/// When the configuration or the state cannot be used.
pub async fn run(boot: Boot<EngineConfig>) -> anyhow::Result<()> {
    let Boot {
        config,
        data_dir,
        ctl,
        rpc,
        shutdown,
        notify,
        lifecycle,
    } = boot;
    let rpc = rpc.ok_or_else(|| {
        Fatal::config("engine-svc was started without its rpc socket; pass it by the name \"rpc\"".to_owned())
    })?;
    let settings =
        Settings::from_config(&config, Path::new(&data_dir)).map_err(|cause| Fatal::config(cause.to_string()))?;
    let metrics = lifecycle.metrics.clone();
    let node = tokio::task::spawn_blocking(move || Node::open(settings, &metrics)).await??;
    node.report(&lifecycle.status);
    notify.ready();
    serve(node, lifecycle, ctl, rpc, shutdown).await;
    Ok(())
}

/// Serves both sockets. After `shutdown` runs in progress get a grace period, in which status is still answered.
pub async fn serve(node: Node, lifecycle: LifecycleServer, ctl: Listener, rpc: Listener, shutdown: CancellationToken) {
    let identity = Identity::new(Role::Engine);
    let control = Router::new(identity)
        .serve::<LifecycleClient, _, _>(handler!(Lifecycle, lifecycle))
        .serve::<EngineAdminClient, _, _>(handler!(EngineAdmin, node.clone()));
    let work = Router::new(identity).serve::<EngineClient, _, _>(handler!(Engine, node));
    let finished = CancellationToken::new();
    let serve_work = async {
        let stopped = work.run(rpc, shutdown.cancelled()).await;
        if stopped.unfinished > 0 {
            tracing::warn!(
                runs = stopped.unfinished,
                "runs were cut off by the stop; they will be repeated"
            );
        }
        finished.cancel();
    };
    tokio::join!(serve_work, control.run(ctl, finished.cancelled()));
}
