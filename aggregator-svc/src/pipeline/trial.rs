//! A call during whose run engine-svc died is tried by itself before it is blamed again.
//!
//! A death strikes every run that is under way, also those that only waited for a slot or for their component while
//! engine-svc was starting, and at most one of them caused it. So, of each service, one such suspect runs at a time, and only
//! when its component is loaded: further deaths of others, and of a process that had not begun with it, do not count against
//! it. Before the last death that a call may have it runs beside no suspect of any service: whoever causes deaths does so alone
//! and is found out. All runs of a component that was found out once are suspects of that kind. Others do not wait for any of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit};
use wavs_ipc::Json;
use wavs_ipc::contract::engine::{Prefetch, World};

use super::core::Core;
use super::quarantine::MAX_DEATHS;
use super::run::{Run, RunFault};

/// Longest wait until a component is loaded, or fetched and compiled again.
const LOAD_LIMIT: Duration = Duration::from_secs(120);
/// Longest look whether it still is.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Held by a suspect while it runs.
pub struct Alone {
    beside: Beside,
    _turn: OwnedSemaphorePermit,
}

/// Which suspects of other services may run meanwhile.
#[expect(dead_code, reason = "held, not read")]
enum Beside {
    Any(OwnedRwLockReadGuard<()>),
    None(OwnedRwLockWriteGuard<()>),
}

impl Alone {
    /// Whether it is the only suspect of all, so that a death is put down to it.
    pub(super) fn is_sole(&self) -> bool {
        matches!(self.beside, Beside::None(_))
    }
}

/// Waits until a call with so many deaths may run. Answers nothing for one that is no suspect.
///
/// # Errors
/// When its component is quarantined or cannot be loaded. A death meanwhile is a fault of the machine: repeated, and not for ever.
pub(super) async fn begin(core: &Core, run: &Run<'_>, world: World, deaths: u32) -> Result<Option<Alone>, RunFault> {
    let (component, components) = (run.component.source.digest(), &run.entry.components);
    let allowed = || match components.quarantine(&component) {
        Some(text) => Err(RunFault::Quarantined(text)),
        None => Ok(()),
    };
    allowed()?;
    let known = components.is_suspect(&component);
    if deaths == 0 && !known {
        return Ok(None);
    }
    let turn = run.entry.trial.clone().acquire_owned().await;
    let turn = turn.map_err(|_| RunFault::NotStarted("the process is stopping".to_owned()))?;
    // What ran meanwhile may have been the last straw.
    allowed()?;
    load(core, run, world, LOAD_LIMIT).await?;
    let trials = Arc::clone(&core.trials);
    let beside = if deaths + 1 < MAX_DEATHS && !known {
        Beside::Any(trials.read_owned().await)
    } else {
        let beside = Beside::None(trials.write_owned().await);
        load(core, run, world, LOOK_LIMIT).await?;
        beside
    };
    Ok(Some(Alone { beside, _turn: turn }))
}

async fn load(core: &Core, run: &Run<'_>, world: World, limit: Duration) -> Result<(), RunFault> {
    let request = Prefetch {
        source: Json::encode(&run.component.source)?,
        world,
        metered: core.settings.metered(&run.entry.id(), run.component),
        deterministic: core.settings.mode(&run.entry.id()).deterministic,
    };
    let loaded = core
        .engine
        .call(limit, |client, cx| async move { client.prefetch(cx, request).await })
        .await;
    loaded.map_err(|error| match RunFault::from(error) {
        RunFault::Death(detail) => RunFault::Host(detail),
        fault => fault,
    })
}
