//! The process with its sockets.

use std::path::Path;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::engine::{Engine, EngineClient};
use wavs_ipc::contract::engine_admin::{EngineAdmin, EngineAdminClient};
use wavs_ipc::contract::lifecycle::{Lifecycle, LifecycleClient};
use wavs_ipc::socket::Listener;
use wavs_ipc::{Identity, Role, Router, handler};
use wavs_service::config::EngineConfig;
use wavs_service::sandbox::Profile;
use wavs_service::{Boot, Fatal, LifecycleServer};

use crate::node::Node;
use crate::processes::Helpers;
use crate::settings::Settings;

/// Reads the settings and starts the helpers, which the process may not do later. Blocks.
///
/// # Errors
/// When the configuration or a directory cannot be used.
pub fn prepare(config: &EngineConfig, data_dir: &Path) -> anyhow::Result<((Settings, Helpers), Profile)> {
    let settings = Settings::from_config(config, data_dir).map_err(|cause| Fatal::config(cause.to_string()))?;
    let helpers = Helpers::spawn(&settings)?;
    // Whoever takes over this process must not be able to leave code behind: what is executed, it may only read.
    let mut profile = Profile::internet()
        .reads(&settings.cache_dir)
        .takes(&settings.uploads_dir);
    for path in [settings.components_dir(), settings.kv_dir(), settings.files_dir()] {
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        profile = profile.writes(&path);
    }
    Ok(((settings, helpers), profile))
}

/// Runs engine-svc until it is told to stop.
///
/// # Errors
/// When the state cannot be used, or a helper has ended.
pub async fn run(boot: Boot<EngineConfig>, (settings, helpers): (Settings, Helpers)) -> anyhow::Result<()> {
    let Boot {
        ctl,
        rpc,
        shutdown,
        notify,
        lifecycle,
        watchdog,
        ..
    } = boot;
    let rpc = rpc.ok_or_else(|| {
        Fatal::config("engine-svc was started without its rpc socket; pass it by the name \"rpc\"".to_owned())
    })?;
    let metrics = lifecycle.metrics.clone();
    let node = tokio::task::spawn_blocking(move || Node::open(settings, helpers, &metrics)).await??;
    node.report(&lifecycle.status);
    for (name, runtime) in node.guest_runtimes() {
        watchdog.watch(name, runtime);
    }
    notify.ready();
    let (broken, stop) = (node.broken(), shutdown.clone());
    let watch = tokio::spawn(async move {
        broken.await;
        stop.cancel();
    });
    // The last owner of the node ends the helpers, which is no failure then.
    let owner = node.clone();
    serve(node, lifecycle, ctl, rpc, shutdown).await;
    let failed = watch.is_finished();
    watch.abort();
    drop(owner);
    anyhow::ensure!(
        !failed,
        "the compile host or the download host ended; a fresh engine-svc starts another one"
    );
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
