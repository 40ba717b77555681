//! The two ends of the scale: wasmtime used as well as possible without a node around it, and as badly as is common.

use std::time::{Duration, Instant};

use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "wavs:operator/wavs-world@2.6.0",
        imports: { "wasi:keyvalue": async | trappable },
        exports: { default: async },
    });
}

use bindings::WavsWorldPre;
use bindings::wavs::operator::input::{TriggerAction, TriggerConfig};
use bindings::wavs::types::chain::{CosmosChainConfig, EvmChainConfig};
use bindings::wavs::types::core::LogLevel;
use bindings::wavs::types::events::TriggerData;
use bindings::wavs::types::service::{ServiceAndWorkflowId, Trigger, WorkflowAndWorkflowId};

/// A host that does nothing.
struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl State {
    fn new() -> Self {
        Self {
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl bindings::host::Host for State {
    fn get_evm_chain_config(&mut self, _: String) -> Option<EvmChainConfig> {
        None
    }

    fn get_cosmos_chain_config(&mut self, _: String) -> Option<CosmosChainConfig> {
        None
    }

    fn config_var(&mut self, _: String) -> Option<String> {
        None
    }

    fn log(&mut self, _: LogLevel, _: String) {}

    fn get_service(&mut self) -> ServiceAndWorkflowId {
        not_called()
    }

    fn get_workflow(&mut self) -> WorkflowAndWorkflowId {
        not_called()
    }

    fn get_event_id(&mut self, _: Option<Vec<u8>>) -> Vec<u8> {
        vec![1; 20]
    }
}

fn not_called<T>() -> T {
    panic!("the measured guest does not call this")
}

/// All that the measured guest imports.
fn linker(engine: &Engine) -> Linker<State> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("WASI");
    bindings::host::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state).expect("the host interface");
    linker
}

fn action() -> TriggerAction {
    TriggerAction {
        config: TriggerConfig {
            service_id: "11".repeat(32),
            workflow_id: "default".to_owned(),
            trigger: Trigger::Manual,
        },
        data: TriggerData::Raw(b"x".to_vec()),
    }
}

/// One engine, one linked component, pooled instances.
pub(crate) struct Bare {
    pre: WavsWorldPre<State>,
    /// How long the compilation took.
    pub(crate) compiled: Duration,
}

impl Bare {
    /// Compiles and links. The pool restores all that may have been written, or asks the kernel for what was, as engine-svc
    /// does.
    pub(crate) fn new(bytes: &[u8], scan: Enabled) -> Self {
        let mut config = Config::new();
        let mut pool = PoolingAllocationConfig::new();
        pool.max_unused_warm_slots(100)
            .linear_memory_keep_resident(256 << 10)
            .pagemap_scan(scan);
        config
            .epoch_interruption(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).expect("an engine");
        let started = Instant::now();
        let component = Component::from_binary(&engine, bytes).expect("a component");
        let compiled = started.elapsed();
        let pre = linker(&engine).instantiate_pre(&component).expect("its imports");
        let pre = WavsWorldPre::new(pre).expect("its exports");
        Self { pre, compiled }
    }

    /// One call in a fresh store, as a task of its own.
    pub(crate) async fn call(&self) {
        let pre = self.pre.clone();
        let call = async move {
            let mut store = Store::new(pre.engine(), State::new());
            store.set_epoch_deadline(1_000_000);
            let world = pre.instantiate_async(&mut store).await.expect("an instance");
            world
                .call_run(&mut store, &action())
                .await
                .expect("a run")
                .expect("a result");
        };
        tokio::spawn(call).await.expect("a task");
    }
}

/// A linker for each call, instances made on demand, fuel counted.
pub(crate) struct Naive {
    engine: Engine,
    component: Component,
}

impl Naive {
    /// Compiles.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut config = Config::new();
        config.epoch_interruption(true).consume_fuel(true);
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::from_binary(&engine, bytes).expect("a component");
        Self { engine, component }
    }

    /// One call.
    pub(crate) async fn call(&self) {
        let (engine, component) = (self.engine.clone(), self.component.clone());
        let call = async move {
            let mut store = Store::new(&engine, State::new());
            store.set_epoch_deadline(1_000_000);
            store.set_fuel(u64::MAX).expect("fuel");
            let pre = linker(&engine).instantiate_pre(&component).expect("its imports");
            let world = WavsWorldPre::new(pre).expect("its exports");
            let world = world.instantiate_async(&mut store).await.expect("an instance");
            world
                .call_run(&mut store, &action())
                .await
                .expect("a run")
                .expect("a result");
        };
        tokio::spawn(call).await.expect("a task");
    }
}
