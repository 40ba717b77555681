//! What components are linked against: WASI 0.2, `wasi:http`, `wasi:tls`, key-value and the `host` interface.
//!
//! The worlds share all but `host`, whose `get-event-id` differs, so each world has a linker of its own. A linker is built
//! once per engine and used for every component.

use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};
use wavs_ipc::contract::engine::World;

use crate::bindings::{aggregator, operator};
use crate::components::ComponentError;
use crate::host::{self, GuestState};
use crate::metrics::Metrics;

/// The linkers of one engine.
pub(crate) struct Linkers {
    operator: Linker<GuestState>,
    aggregator: Linker<GuestState>,
}

/// A component that is linked, with its exports found: all that does not depend on a run.
pub(crate) struct Prepared {
    pub(super) exports: Exports,
    /// Where its runs are counted.
    pub(super) metrics: Arc<Metrics>,
}

/// What a world calls.
pub(super) enum Exports {
    Operator(operator::WavsWorldPre<GuestState>),
    Aggregator(aggregator::AggregatorWorldPre<GuestState>),
}

impl Linkers {
    /// Builds both linkers.
    ///
    /// # Errors
    /// When two interfaces collide, which is a bug of this crate.
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut operator = common(engine)?;
        operator::host::add_to_linker::<_, HasSelf<GuestState>>(&mut operator, |state| state)?;
        let mut aggregator = common(engine)?;
        aggregator::host::add_to_linker::<_, HasSelf<GuestState>>(&mut aggregator, |state| state)?;
        Ok(Self { operator, aggregator })
    }

    /// Checks a component against a world and resolves its imports and exports.
    ///
    /// # Errors
    /// [`ComponentError::WrongWorld`] naming what is missing or of the wrong type.
    pub(super) fn prepare(&self, component: &Component, world: World) -> Result<Exports, ComponentError> {
        let wrong = |cause: wasmtime::Error| ComponentError::WrongWorld {
            world: world_name(world),
            cause: format!("{cause:#}"),
        };
        match world {
            World::Operator => {
                let pre = self.operator.instantiate_pre(component).map_err(wrong)?;
                operator::WavsWorldPre::new(pre).map(Exports::Operator).map_err(wrong)
            }
            World::Aggregator => {
                let pre = self.aggregator.instantiate_pre(component).map_err(wrong)?;
                aggregator::AggregatorWorldPre::new(pre)
                    .map(Exports::Aggregator)
                    .map_err(wrong)
            }
        }
    }
}

/// The full name of a world, as error texts give it.
pub(crate) fn world_name(world: World) -> &'static str {
    match world {
        World::Operator => "wavs:operator/wavs-world@2.6.0",
        World::Aggregator => "wavs:aggregator/aggregator-world@2.6.0",
    }
}

fn common(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    host::add_to_linker(&mut linker)?;
    Ok(linker)
}
