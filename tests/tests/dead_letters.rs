//! A failure is repaired: a component that fails leaves dead letters, an update of the service removes the cause, and a retry
//! lands each result exactly once.

use std::time::Duration;

use e2e::scenario::{Parts, Scenario, ended, transaction};
use e2e::service::{self, Component};
use reqwest::Method;
use serde_json::{Value, json};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

fn items(page: &Value) -> &[Value] {
    page["items"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_lands_exactly_once_after_the_service_is_fixed_and_it_is_retried() {
    let chain = e2e::anvil::Anvil::start().await.unwrap();
    let config = e2e::node::NodeConfig::for_chains(&[&chain]);
    let broken = |component: Component| component.config("do", "fail:the oracle is closed");
    let scenario = Scenario::start_on(chain, &config, "echo", broken).await.unwrap();
    let node = &scenario.node;
    let mut receipts = Vec::new();
    for data in [b"one", b"two", b"six"] {
        receipts.push(scenario.contracts.fire(data).await.unwrap());
    }
    let mut jobs = Vec::new();
    for receipt in &receipts {
        let job = scenario.job_of(receipt, ended).await.unwrap();
        assert_eq!(job["state"], "failed", "{job:#}");
        jobs.push(job);
    }

    let page = node.get("/v1/dead-letters?stage=execute").await.unwrap();
    assert_eq!(items(&page).len(), 3);
    for letter in items(&page) {
        assert_eq!(letter["error_class"], "guest_fault", "{letter:#}");
        assert!(
            letter["error"].as_str().unwrap().contains("the oracle is closed"),
            "{letter:#}"
        );
    }
    // Not every failure is worth another attempt.
    let dropped = jobs[2]["job_id"].as_str().unwrap();
    let path = format!("/v1/dead-letters/{dropped}");
    let response = node.request(Method::DELETE, &path, None).await.unwrap();
    assert_eq!(response.status(), 204);

    // Without a remedy a retry fails again, and is a dead letter again.
    let first = jobs[0]["job_id"].as_str().unwrap();
    let retry = format!("/v1/dead-letters/{first}/retry");
    assert_eq!(node.post(&retry, &json!({})).await.unwrap(), json!({"accepted": 1}));
    let again = scenario
        .job_of(&receipts[0], |job| job["attempts"] == 2 && ended(job))
        .await
        .unwrap();
    assert_eq!(
        (&again["state"], &again["job_id"]),
        (&json!("failed"), &jobs[0]["job_id"])
    );

    let key = scenario.chain.chain_key();
    let parts: Parts<'_> = scenario.parts(&key);
    let fixed = service::service(
        &key,
        scenario.contracts.manager,
        &[("default", parts.landing(&parts.operator()))],
    );
    scenario.update(&fixed).await.unwrap();
    let all = json!({"service_id": scenario.service_id, "stage": "execute"});
    assert_eq!(
        node.post("/v1/dead-letters/retry", &all).await.unwrap(),
        json!({"accepted": 2})
    );
    assert_eq!(
        node.post("/v1/dead-letters/retry", &all).await.unwrap(),
        json!({"accepted": 0}),
        "what goes on is no dead letter"
    );
    for (receipt, (job, data)) in receipts.iter().zip(jobs.iter().zip([b"one", b"two"])) {
        let landed = scenario.landed(receipt).await.unwrap();
        assert_eq!(landed.data.as_ref(), data);
        assert_eq!(landed.job["job_id"], job["job_id"]);
    }
    let landed = scenario
        .job_of(&receipts[0], |job| transaction(job).is_some())
        .await
        .unwrap();
    assert_eq!(landed["attempts"], 3);

    let page = node.get("/v1/transactions").await.unwrap();
    assert_eq!(items(&page).len(), 2, "one transaction for each: {page:#}");
    let page = node.get("/v1/quorums").await.unwrap();
    assert_eq!(items(&page).len(), 2);
    for quorum in items(&page) {
        let buckets = quorum["buckets"].as_array().unwrap();
        assert_eq!((buckets.len(), buckets[0]["signers"].as_array().unwrap().len()), (1, 1));
    }
    let page = node.get(&format!("/v1/executions?job_id={first}")).await.unwrap();
    let runs: Vec<_> = items(&page)
        .iter()
        .filter(|run| run["kind"] == "operator")
        .map(|run| (run["attempt"].clone(), run["outcome"].clone()))
        .collect();
    let expected = [(3, "ok"), (2, "guest_fault"), (1, "guest_fault")].map(|(n, outcome)| (json!(n), json!(outcome)));
    assert_eq!(runs, expected);
    assert!(
        items(&page)[0]["memory_peak"].as_u64().is_some_and(|bytes| bytes > 0),
        "{page:#}"
    );

    let path = format!("/v1/services/{}/status", scenario.service_id);
    let done = |status: &Value| status["counters"]["submitted"] == 2;
    let status = node.wait_for(&path, LIMIT, done).await.unwrap();
    let counters = &status["counters"];
    assert_eq!(
        (&counters["triggers"], &counters["failed"], &counters["signed"]),
        (&json!(3), &json!(4), &json!(2)),
        "{status:#}"
    );
    let path = format!("/v1/services/{}/history", scenario.service_id);
    let what: Vec<_> = items(&node.get(&path).await.unwrap())
        .iter()
        .map(|entry| (entry["what"].clone(), entry["actor"].clone()))
        .collect();
    let expected = [("updated", "chain"), ("dead-letter-dropped", "api"), ("added", "api")];
    assert_eq!(what, expected.map(|(what, actor)| (json!(what), json!(actor))));
}
