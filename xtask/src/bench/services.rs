//! What a registered service costs while nothing happens: memory of all five processes, before and after it worked.

use anyhow::Result;
use e2e::contracts::{Contracts, deploy};
use e2e::scenario;
use e2e::service::{self, Component};
use serde_json::json;

use super::bed::Bed;
use super::figure::Figure;
use super::memory::{self, Usage};
use super::progress::Step;

/// Services before those that are measured: they fill caches and arenas, which have bounds of their own.
const WARM: u32 = 50;
/// Services that are measured.
const MEASURED: u32 = 200;
/// The most that an idle service should use, in kibibytes.
const TARGET_KIB: f64 = 64.0;
/// Seconds that a run may take until the node gives up waiting.
const RUN_SECS: u64 = 60;

/// Registers services one after the other, then lets each work once.
pub(super) async fn figures(bed: &Bed) -> Result<Vec<Figure>> {
    let registered = "memory of an idle registered service, PSS of all";
    let worked = "memory of an idle service that has worked, PSS of all";
    let step = Step::new(
        "services that are registered and run once",
        u64::from(2 * (WARM + MEASURED)),
    )?;
    let documents = Documents::new(bed).await?;
    for _ in 0..WARM {
        let id = documents.register(bed).await?;
        run_once(bed, &id).await?;
        step.advance(2);
    }
    let Some(before) = memory::usage(&bed.node).await? else {
        let hidden = |name| Figure::new(name, None, "KiB").target(TARGET_KIB).note(memory::HIDDEN);
        return Ok(vec![hidden(registered), hidden(worked)]);
    };
    let mut ids = Vec::new();
    for _ in 0..MEASURED {
        ids.push(documents.register(bed).await?);
        step.advance(1);
    }
    let idle = memory::usage(&bed.node).await?.unwrap_or_default();
    for id in &ids {
        run_once(bed, id).await?;
        step.advance(1);
    }
    let after = memory::usage(&bed.node).await?.unwrap_or_default();
    Ok(vec![
        each(registered, &before, &idle).note(format!("{MEASURED} after {WARM} others; {}", parts(&before, &idle))),
        each(worked, &before, &after).note(format!("once each, to its signature; {}", parts(&before, &after))),
    ])
}

/// What the documents of these services have in common.
struct Documents {
    chain: String,
    component: Component,
    submit: Component,
}

impl Documents {
    async fn new(bed: &Bed) -> Result<Self> {
        let chain = bed.chain.chain_key();
        let component = Component::new(&bed.node.upload(&scenario::prebuilt("echo")).await?);
        let aggregator = bed.node.upload(&scenario::prebuilt("aggregator")).await?;
        let submit = service::submit_to(&aggregator, &chain, bed.contracts.handler).config("fault", "none");
        Ok(Self {
            chain,
            component,
            submit,
        })
    }

    /// Registers a service with a manager of its own, whose only operator is this node; answers its id.
    async fn register(&self, bed: &Bed) -> Result<String> {
        let manager = deploy(&bed.contracts.provider, "WavsServiceManager", &[]).await?;
        // A contract of its own that never emits the event, as services are mostly idle.
        let event = service::new_trigger(&self.chain, manager);
        let document = service::service(
            &self.chain,
            manager,
            &[
                ("event", service::workflow(&event, &self.component, Some(&self.submit))),
                (
                    "manual",
                    service::workflow(&json!("manual"), &self.component, Some(&self.submit)),
                ),
            ],
        );
        let contracts = Contracts {
            manager,
            ..bed.contracts.clone()
        };
        scenario::enrol(&bed.node, &bed.chain, &contracts, &document).await?;
        let service: wavs_types::Service = serde_json::from_value(document)?;
        Ok(service.id().to_string())
    }
}

/// Runs the component of a service, signs the result, and lets its aggregator component decide on it.
async fn run_once(bed: &Bed, id: &str) -> Result<()> {
    let body = json!({
        "service_id": id,
        "workflow_id": "manual",
        "trigger": "manual",
        "data": {"Raw": b"once"},
        "wait_for_completion": true,
        "timeout_secs": RUN_SECS,
    });
    bed.node.post("/dev/triggers", &body).await.map(drop)
}

/// What each service added.
fn each(name: &str, before: &Usage, after: &Usage) -> Figure {
    let grown = memory::sum(after) as f64 - memory::sum(before) as f64;
    Figure::new(name, Some(grown / f64::from(MEASURED) / 1024.0), "KiB").target(TARGET_KIB)
}

/// What each service added to each process.
fn parts(before: &Usage, after: &Usage) -> String {
    let parts = before.iter().zip(after).map(|((name, before), (_, after))| {
        let grown = (*after as f64 - *before as f64) / f64::from(MEASURED) / 1024.0;
        format!("{name} {grown:.1}")
    });
    parts.collect::<Vec<_>>().join(", ")
}
