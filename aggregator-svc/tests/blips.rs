//! Endpoints that fail at the worst moment, and calls that hang: an event lands by itself, and no other service waits for it.

#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use e2e::proxy::{Fault, Proxy};
use support::trigger::action;
use support::{Running, World, document};
use wavs_ipc::contract::engine::{Action, AggregatorCall};
use wavs_ipc::contract::registry::JobView;
use wavs_types::{EvmAddress, ServiceId};

/// Long enough for a slow machine; a passing test never waits for it.
const LIMIT: Duration = Duration::from_secs(60);
/// Services beside the one whose handler hangs.
const OTHERS: usize = 8;
const EVENTS: usize = 3;

/// A node that reaches its chain through a proxy, and the handlers of its services.
struct Stage {
    world: World,
    chain: Anvil,
    proxy: Proxy,
    handlers: Arc<Mutex<BTreeMap<ServiceId, EvmAddress>>>,
}

impl Stage {
    async fn new() -> Self {
        let chain = Anvil::start().await.unwrap();
        let proxy = Proxy::start(chain.port()).await.unwrap();
        let mut world = World::new();
        (world.chain, world.posts) = (Some(proxy.http()), true);
        let handlers: Arc<Mutex<BTreeMap<ServiceId, EvmAddress>>> = Arc::default();
        let known = Arc::clone(&handlers);
        world.engine.on_aggregator(move |job| {
            let submit = Action::SubmitEvm {
                chain: "evm:31337".parse().unwrap(),
                address: known.lock().unwrap()[&job.context.service_id].into_array(),
                gas_price: None,
            };
            let input = job.call == AggregatorCall::ProcessInput;
            Ok(Ok(if input { vec![submit] } else { vec![] }))
        });
        Self {
            world,
            chain,
            proxy,
            handlers,
        }
    }

    /// A service with contracts of its own, which knows this node as an operator.
    async fn service(&self, node: &Running) -> (ServiceId, Contracts) {
        let contracts = Contracts::deploy(&self.chain).await.unwrap();
        let manager = contracts.manager.to_string();
        self.world.trigger.publish(&manager, document(&manager, "active"));
        let added = node.add(&manager).await.unwrap();
        contracts.register(added.signer.into(), 100).await.unwrap();
        // A key counts from the block after its registration.
        self.chain.mine().await.unwrap();
        self.handlers
            .lock()
            .unwrap()
            .insert(added.service_id, contracts.handler);
        (added.service_id, contracts)
    }

    fn fire(&self, service: ServiceId, data: &[u8]) {
        let source = format!("evm:31337/{service}/{}", String::from_utf8_lossy(data));
        self.world.trigger.fire(&source, &action(service, "submit", data), None);
    }
}

fn is_on_chain(job: &JobView) -> bool {
    ["mined", "final"].contains(&job.state.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blip_at_the_last_signature_delays_the_event_and_nothing_else_is_needed() {
    let stage = Stage::new().await;
    let node = stage.world.start().await;
    let (service, contracts) = stage.service(&node).await;
    stage.world.engine.close();
    stage.fire(service, b"last");
    stage.world.engine.began(1).await;
    // From the moment of the signature on, every endpoint fails.
    let before = stage.proxy.strikes();
    stage.proxy.set(Fault::Drop);
    stage.world.engine.open();
    stage.proxy.struck(before, LIMIT).await.unwrap();
    let waiting = node
        .job(|job| {
            let target = job.events.first().and_then(|event| event.targets.first());
            target.is_some_and(|target| target.error.is_some())
        })
        .await;
    assert_eq!(waiting.state, "collecting");
    assert_eq!(contracts.result_count().await.unwrap(), 0);

    stage.proxy.set(Fault::Pass);
    node.job(is_on_chain).await;
    assert_eq!(contracts.result_count().await.unwrap(), 1);
    assert_eq!(stage.world.engine.runs().len(), 1, "nothing was run or signed again");
    let inputs = stage.world.engine.aggregator_runs();
    let inputs = inputs.iter().filter(|run| run.call == AggregatorCall::ProcessInput);
    assert_eq!(inputs.count(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hangs_holds_up_no_other_service_of_the_chain() {
    let stage = Stage::new().await;
    let node = stage.world.start().await;
    let (slow, hanging) = stage.service(&node).await;
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.push(stage.service(&node).await);
    }
    // Every call that names this handler hangs, from the first one on.
    let before = stage.proxy.strikes();
    let address = format!("{:x}", hanging.handler);
    stage.proxy.set(Fault::Withhold(address));
    for number in 0..EVENTS {
        stage.fire(slow, format!("slow {number}").as_bytes());
    }
    stage.proxy.struck(before, LIMIT).await.unwrap();
    for number in 0..EVENTS {
        for (service, _) in &others {
            stage.fire(*service, format!("{number}").as_bytes());
        }
    }
    // The calls are let go only when all others have landed, so none of these can have waited for them.
    let deadline = tokio::time::Instant::now() + LIMIT;
    for (_, contracts) in &others {
        while contracts.result_count().await.unwrap() < EVENTS as u64 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "another service waits: {:#?}",
                node.jobs().await
            );
        }
    }
    assert_eq!(hanging.result_count().await.unwrap(), 0);
    stage.proxy.set(Fault::Pass);
    while hanging.result_count().await.unwrap() < EVENTS as u64 {
        assert!(
            tokio::time::Instant::now() < deadline + LIMIT,
            "{:#?}",
            node.jobs().await
        );
    }
    node.stop().await;
}
