//! A job during whose run engine-svc died is tried by itself before it is blamed again.
//!
//! A death strikes every run that is under way, also those that only waited for a slot or for their component while
//! engine-svc was starting, and at most one of them caused it. So, of each service, one such suspect runs at a time, and only
//! when its component is loaded: further deaths of others, and of a process that had not begun with it, do not count against
//! it. One that causes deaths does so alone and is found out. Other services do not wait for it.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use wavs_ipc::Json;
use wavs_ipc::contract::engine::{Prefetch, World};

use super::core::Core;
use super::run::{Run, RunFault};

/// Longest wait until a component is loaded, or fetched and compiled again.
const LOAD_LIMIT: Duration = Duration::from_secs(120);

/// Held by a suspect while it runs; nothing for the others.
pub(super) type Alone = Option<OwnedSemaphorePermit>;

/// Waits until a job with so many deaths may run.
///
/// # Errors
/// When its component cannot be loaded. A death meanwhile is a fault of the machine: repeated, and not for ever.
pub(super) async fn begin(core: &Core, run: &Run<'_>, deaths: u32) -> Result<Alone, RunFault> {
    if deaths == 0 {
        return Ok(None);
    }
    let trial = run.entry.trial.clone().acquire_owned().await;
    let alone = trial.map_err(|_| RunFault::NotStarted("the process is stopping".to_owned()))?;
    let request = Prefetch {
        source: Json::encode(&run.component.source)?,
        world: World::Operator,
        metered: core.settings.metered(&run.entry.id(), run.component),
        deterministic: core.settings.mode(&run.entry.id()).deterministic,
    };
    let loaded = core
        .engine
        .call(
            LOAD_LIMIT,
            |client, cx| async move { client.prefetch(cx, request).await },
        )
        .await;
    match loaded.map_err(RunFault::from) {
        Ok(()) => Ok(Some(alone)),
        Err(RunFault::Death(detail)) => Err(RunFault::Host(detail)),
        Err(fault) => Err(fault),
    }
}
