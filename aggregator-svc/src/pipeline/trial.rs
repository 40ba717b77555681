//! Who may run beside whom: a call that engine-svc may die of is tried by itself before it is blamed.
//!
//! A death strikes every run that is under way, also those that only waited for a slot or for their component while
//! engine-svc was starting, and at most one of them caused it. So, of each service, one such suspect runs at a time, and only
//! when its component is loaded: further deaths of others, and of a process that had not begun with it, do not count against
//! it. Before the last death that a call may have it runs beside no suspect of any service, and so do all runs of a component that
//! took part in several deaths ([`components`](crate::registry::components)): where one of them causes deaths, it does so by
//! itself and is found out. Suspects that wait hold nothing that others need.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit};
use wavs_ipc::contract::engine::{Prefetch, World};
use wavs_ipc::{ErrorCode, Json};

use super::core::Core;
use super::quarantine::{Culprit, MAX_DEATHS};
use super::run::{Run, RunFault};
use super::runs::{Kind, UnderWay};

/// Longest wait until a component is loaded, or fetched and compiled again.
const LOAD_LIMIT: Duration = Duration::from_secs(120);
/// The same while all other suspects wait.
const SOLE_LOAD_LIMIT: Duration = Duration::from_secs(30);

/// Longest wait of a suspect for a slot.
const SLOT_LIMIT: Duration = Duration::from_secs(5);

/// What a run needs to begin; held while it is under way.
pub struct Admitted<'a> {
    /// Its place among the runs.
    pub(super) slot: UnderWay<'a>,
    /// Of a suspect.
    pub(super) alone: Option<Alone>,
}

/// Held by a suspect until it is known what its run led to.
pub struct Alone {
    beside: Beside,
    /// Whether the call saw no death before.
    is_fresh: bool,
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

    /// Whether its run shows that the component does no harm, if it does none. That of a repeat does not: a component may do its
    /// harm in the first run of each call.
    pub(super) fn is_proof(&self) -> bool {
        self.is_sole() && self.is_fresh
    }
}

/// Why a call was not made.
pub struct NotRun {
    pub(super) fault: RunFault,
    /// What engine-svc died of before the run began, if it did and that is known.
    pub(super) culprit: Option<Culprit>,
}

impl From<RunFault> for NotRun {
    fn from(fault: RunFault) -> Self {
        Self { fault, culprit: None }
    }
}

/// Waits until a call with so many deaths may run.
///
/// # Errors
/// When its component is quarantined or cannot be loaded, or another suspect of its service runs. A death in a load beside others is
/// nobody's fault, but the component took part in it.
pub(super) async fn begin<'a>(
    core: &'a Core,
    run: &Run<'a>,
    world: World,
    deaths: u32,
) -> Result<Admitted<'a>, NotRun> {
    let component = run.component.source.digest();
    let allowed = || match run.entry.components.quarantine(&component) {
        Some(text) => Err(RunFault::Quarantined(text)),
        None => Ok(()),
    };
    allowed()?;
    let is_sole = deaths + 1 >= MAX_DEATHS || run.entry.components.is_suspect(&component);
    let others = || RunFault::Later("another run of the service that engine-svc may die of is under way".to_owned());
    // What ran meanwhile may have been the last straw, or have made a suspect of the component.
    let still = || match run.entry.components.is_suspect(&component) {
        true if !is_sole => Err(others()),
        _ => allowed(),
    };
    if deaths == 0 && !is_sole {
        let begun = core.engine_slots.begin(&run.entry.runs, kind(world)).await;
        let slot = begun.ok_or_else(stopping)?;
        still()?;
        return Ok(Admitted { slot, alone: None });
    }
    let turn = Arc::clone(&run.entry.trial).try_acquire_owned().map_err(|_| others())?;
    if !is_sole {
        load(core, run, world, LOAD_LIMIT).await.map_err(|fault| match fault {
            RunFault::Death(detail) => RunFault::Later(detail),
            fault => fault,
        })?;
    }
    let trials = Arc::clone(&core.trials);
    let beside = if is_sole {
        let beside = Beside::None(trials.write_owned().await);
        load(core, run, world, SOLE_LOAD_LIMIT).await.map_err(|fault| NotRun {
            culprit: Culprit::of(run, &fault),
            fault,
        })?;
        beside
    } else {
        Beside::Any(trials.read_owned().await)
    };
    let slot = core.engine_slots.begin_suspect(&run.entry.runs, kind(world));
    let slot = tokio::time::timeout(SLOT_LIMIT, slot).await;
    let slot = slot.map_err(|_| RunFault::Later("no slot became free".to_owned()))?;
    let slot = slot.ok_or_else(stopping)?;
    still()?;
    let in_force = core.directory.get(&run.entry.id());
    if in_force.is_none_or(|now| now.digest() != run.entry.digest() || !now.is_running()) {
        return Err(RunFault::Later("the service was changed meanwhile".to_owned()).into());
    }
    let alone = Some(Alone {
        beside,
        is_fresh: deaths == 0,
        _turn: turn,
    });
    Ok(Admitted { slot, alone })
}

fn kind(world: World) -> Kind {
    match world {
        World::Operator => Kind::Operator,
        World::Aggregator => Kind::Aggregator,
    }
}

fn stopping() -> RunFault {
    RunFault::NotStarted("the process is stopping".to_owned())
}

/// Has the component of a suspect loaded. It takes part in a death meanwhile.
async fn load(core: &Core, run: &Run<'_>, world: World, limit: Duration) -> Result<(), RunFault> {
    let request = Prefetch {
        source: Json::encode(&run.component.source)?,
        world,
        metered: core.settings.metered(&run.entry.id(), run.component),
        deterministic: core.settings.mode(&run.entry.id()).deterministic,
    };
    let (connection, loaded) = core
        .engine
        .call_on(limit, |client, cx| async move { client.prefetch(cx, request).await })
        .await;
    let loaded = loaded.map_err(|error| match error.code {
        // It goes on, and the next one finds it ready.
        ErrorCode::Deadline => RunFault::Later(error.detail),
        _ => RunFault::from(error),
    });
    if let Err(RunFault::Death(_)) = &loaded {
        run.entry.components.died(&run.component.source.digest(), connection);
    }
    loaded
}
