//! Components, handlers and quorums that fail: each job says so and why, and the other workflows go on.

use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use e2e::node::NodeConfig;
use e2e::scenario::{self, Parts, Scenario, ended};
use e2e::service::{self, Component};
use serde_json::{Value, json};

/// A workflow that goes wrong: its id, how its job must end, and what the reason must name.
struct Case {
    workflow: &'static str,
    state: &'static str,
    reason: &'static [&'static str],
}

const fn case(workflow: &'static str, state: &'static str, reason: &'static [&'static str]) -> Case {
    Case {
        workflow,
        state,
        reason,
    }
}

/// A service with the working workflow `default` and the ones that `more` makes.
async fn start(more: impl FnOnce(&Parts<'_>) -> Vec<(&'static str, Value)>) -> Scenario {
    let chain = Anvil::start().await.unwrap();
    let contracts = Contracts::deploy(&chain).await.unwrap();
    let config = NodeConfig::for_chains(&[&chain]);
    let workflows = |parts: &Parts<'_>| {
        let mut workflows = more(parts);
        workflows.push(("default", parts.landing(&parts.operator())));
        workflows
    };
    Scenario::start_with(chain, contracts, &config, "echo", workflows)
        .await
        .unwrap()
}

/// Runs each workflow once and asserts how its job ends, in the API and in the log. Meanwhile and afterwards a good event lands.
async fn fail(scenario: &Scenario, cases: &[Case]) {
    for case in cases {
        scenario.inject(case.workflow, b"input", 1, false).await.unwrap();
    }
    let landed = scenario.fire_and_land(b"meanwhile").await.unwrap();
    assert_eq!(landed.data.as_ref(), b"meanwhile");
    for Case {
        workflow,
        state,
        reason,
    } in cases
    {
        let job = scenario.job_in(workflow, ended).await.unwrap();
        assert_eq!(job["state"], *state, "{workflow}: {job:#}");
        let error = job["error"].as_str().unwrap_or_default();
        let log = scenario.node.log();
        for part in *reason {
            assert!(error.contains(part), "{workflow}: no {part:?} in {job:#}");
        }
        if *state == "failed" {
            let last = reason.last().unwrap();
            assert!(log.contains(last), "{workflow}: no {last:?} in the log:\n{log}");
        }
    }
    let landed = scenario.fire_and_land(b"afterwards").await.unwrap();
    assert_eq!(landed.data.as_ref(), b"afterwards");
    let health = scenario.node.processes().await.unwrap();
    assert!(
        health
            .iter()
            .all(|one| one["state"] == "running" && one["restarts"] == 0),
        "{health:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_components_that_fail_end_their_own_jobs() {
    let scenario = start(|parts| {
        let echo = |wish: &str| parts.operator().config("do", wish);
        let limited = |wish: &str, limit: Value| {
            let mut component = echo(wish);
            component.more = limit;
            component
        };
        let run = |component: Component| parts.manual(&component, Some(&parts.submit()));
        vec![
            ("trap", run(echo("trap"))),
            ("error", run(echo("fail:the oracle is closed"))),
            ("loop", run(limited("loop", json!({"time_limit_seconds": 1})))),
            ("fuel", run(limited("loop", json!({"fuel_limit": 1_000_000})))),
            ("memory", run(echo("memory"))),
            ("stack", run(echo("stack"))),
            ("none", run(echo("none"))),
            ("unsalted", run(parts.operator().config("event-id-salt-1", "one"))),
        ]
    })
    .await;
    let cases = [
        case(
            "trap",
            "failed",
            &["guest_fault", "the component trapped", "unreachable"],
        ),
        case(
            "error",
            "failed",
            &["guest_fault", "returned an error", "the oracle is closed"],
        ),
        case("loop", "failed", &["limit", "1 s", "Time limit exceeded"]),
        case("fuel", "failed", &["limit", "1000000", "Max fuel consumed"]),
        case("memory", "failed", &["limit", "Memory limit exceeded"]),
        case("stack", "failed", &["guest_fault", "the component trapped"]),
        case("none", "no_output", &[]),
    ];
    fail(&scenario, &cases).await;

    scenario
        .inject("unsalted", b"multi-response-bad", 1, true)
        .await
        .unwrap();
    let job = scenario.job_in("unsalted", ended).await.unwrap();
    assert_eq!(job["state"], "failed");
    let text = "When returning multiple responses, they must all have an event id salt";
    assert!(job["error"].as_str().unwrap().contains(text), "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregator_components_that_fail_end_their_own_jobs() {
    let scenario = start(|parts| {
        let run = |fault: &str| parts.manual(&parts.operator(), Some(&parts.submit().config("fault", fault)));
        let nobody = service::submit_to(parts.aggregator, "evm:999", parts.contracts.handler);
        vec![
            ("error", run("error")),
            ("trap", run("trap")),
            ("nothing", run("none")),
            ("unknown-chain", run("unknown-chain")),
            ("bad-chain", run("bad-chain")),
            ("bad-address", run("bad-address")),
            ("mixed", run("mixed")),
            ("unconfigured", parts.manual(&parts.operator(), Some(&nobody))),
        ]
    })
    .await;
    let cases = [
        case("error", "failed", &["guest_fault", "the aggregator was told to fail"]),
        case("trap", "failed", &["guest_fault", "the component trapped"]),
        case("nothing", "no_output", &["no_actions"]),
        case("unknown-chain", "failed", &["unknown_chain", "evm:999999999"]),
        case("bad-chain", "failed", &["guest_fault", "not a chain"]),
        case("bad-address", "failed", &["guest_fault", "it must have 20"]),
        case("mixed", "failed", &["guest_fault", "it must have 20"]),
        case(
            "unconfigured",
            "failed",
            &["guest_fault", "no chain config for evm:999"],
        ),
    ];
    fail(&scenario, &cases).await;
    assert_eq!(
        scenario.contracts.result_count().await.unwrap(),
        2,
        "no action of a faulty run is taken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_refuses_costs_no_gas_and_holds_nobody_up() {
    let chain = Anvil::start().await.unwrap();
    let contracts = Contracts::deploy(&chain).await.unwrap();
    let refusing = contracts.deploy_handler("RevertingHandler").await.unwrap();
    let config = NodeConfig::for_chains(&[&chain]);
    let workflows = |parts: &Parts<'_>| {
        let submit = service::submit_to(parts.aggregator, parts.chain, refusing);
        // An account without code is no handler either.
        let nobody = service::submit_to(parts.aggregator, parts.chain, [0x11; 20].into());
        vec![
            ("refused", parts.manual(&parts.operator(), Some(&submit))),
            ("nobody", parts.manual(&parts.operator(), Some(&nobody))),
            ("default", parts.landing(&parts.operator())),
        ]
    };
    let scenario = Scenario::start_with(chain, contracts, &config, "echo", workflows)
        .await
        .unwrap();
    scenario.inject("nobody", b"input", 1, false).await.unwrap();
    scenario.inject("refused", b"input", 1, false).await.unwrap();

    // The reason can be seen while it is tried again.
    let job = scenario
        .job_in("refused", |job| job["state"] == "waiting")
        .await
        .unwrap();
    let target = &job["events"][0]["targets"][0];
    assert!(target["error"].as_str().unwrap().contains("reverts with"), "{job:#}");
    let job = scenario
        .job_in("nobody", |job| job["events"][0]["targets"][0]["error"].is_string())
        .await
        .unwrap();
    let text = job["events"][0]["targets"][0]["error"].as_str().unwrap();
    assert!(
        text.contains("there is no contract at 0x1111111111111111111111111111111111111111"),
        "{job:#}"
    );
    let landed = scenario.fire_and_land(b"meanwhile").await.unwrap();
    assert_eq!(landed.data.as_ref(), b"meanwhile");

    let job = scenario.job_in("refused", ended).await.unwrap();
    assert_eq!(job["state"], "failed", "{job:#}");
    let error = job["error"].as_str().unwrap();
    let handler = refusing.to_string();
    assert!(
        error.contains("handler_revert") && error.contains(&handler) && error.contains("custom error 0x"),
        "{job:#}"
    );
    assert!(scenario.node.log().contains("handler_revert"));
    assert!(
        job["events"][0]["targets"][0]["tx"].is_null(),
        "a call that must revert was posted: {job:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_waits_for_its_quorum_and_then_lands_by_itself() {
    let scenario = start(|_| Vec::new()).await;
    scenario.contracts.register(scenario.signer, 0).await.unwrap();
    scenario.chain.mine().await.unwrap();
    let receipt = scenario.contracts.fire(b"patience").await.unwrap();
    let waits = |job: &Value| job["events"][0]["targets"][0]["error"].is_string();
    let job = scenario.job_of(&receipt, waits).await.unwrap();
    assert_eq!(job["state"], "collecting", "{job:#}");
    let reason = job["events"][0]["targets"][0]["error"].as_str().unwrap();
    assert!(reason.contains("no operators with weight"), "{job:#}");
    assert!(scenario.node.log().contains(reason));

    // Another operator has most of the weight now.
    scenario.contracts.register([0x22; 20].into(), 900).await.unwrap();
    scenario.contracts.register(scenario.signer, 100).await.unwrap();
    scenario.chain.mine().await.unwrap();
    let below = |job: &Value| {
        let reason = job["events"][0]["targets"][0]["error"].as_str();
        reason.is_some_and(|reason| reason.contains("below quorum"))
    };
    scenario.job_of(&receipt, below).await.unwrap();
    assert_eq!(scenario.contracts.result_count().await.unwrap(), 0);

    scenario.contracts.register([0x22; 20].into(), 0).await.unwrap();
    scenario.chain.mine().await.unwrap();
    let landed = scenario.landed(&receipt).await.unwrap();
    assert_eq!(landed.data.as_ref(), b"patience");
    assert_eq!(scenario.contracts.result_count().await.unwrap(), 1);
    let settled = scenario
        .job_of(&receipt, |job| scenario::transaction(job).is_some())
        .await
        .unwrap();
    assert!(
        settled["events"][0]["targets"][0]["error"].is_null(),
        "an old reason is left: {settled:#}"
    );
}
