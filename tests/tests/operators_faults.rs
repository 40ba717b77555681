//! Operators that are down, cut off from each other, late or restarted: each event lands all the same, and once. Real
//! processes on a real chain.

use std::time::Instant;

use e2e::cluster::{Cluster, ClusterConfig, Delivery, LIMIT};
use tokio::sync::Mutex;

/// A cluster has dozens of processes, so one test runs after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

async fn landed_once(cluster: &Cluster, deliveries: &[Delivery]) {
    let sent = cluster.transactions().await.unwrap();
    let landed: Vec<_> = deliveries.iter().map(|delivery| delivery.transaction).collect();
    assert!(landed.iter().all(|landed| sent.contains(landed)), "{}", cluster.logs());
    assert_eq!(
        cluster.contracts.result_count().await.unwrap(),
        deliveries.len() as u64,
        "{}",
        cluster.logs()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_of_five_land_an_event_while_two_are_down_and_a_split_network_after_it_healed() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut config = ClusterConfig::of(5, 2);
    config.quorum = (3, 5);
    let mut cluster = Cluster::start(&config).await.unwrap();
    cluster.kill(3).await.unwrap();
    cluster.kill(4).await.unwrap();
    let first = cluster.fire_and_land(br#"{"x":5}"#).await.unwrap();

    cluster.revive(3).await.unwrap();
    cluster.revive(4).await.unwrap();
    cluster.connected().await.unwrap();
    // Four are needed now, which neither side has by itself.
    cluster.contracts.set_quorum(4, 5).await.unwrap();
    cluster.split(&[&[0, 1], &[2, 3, 4]]).await.unwrap();
    let receipt = cluster.contracts.fire(br#"{"x":6}"#).await.unwrap();
    cluster.gathered(0, 2).await.unwrap();
    cluster.gathered(4, 3).await.unwrap();
    assert_eq!(cluster.contracts.result_count().await.unwrap(), 1);
    cluster.heal().await.unwrap();
    let second = cluster.delivered(&receipt).await.unwrap();
    landed_once(&cluster, &[first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_survives_the_restart_of_every_process_and_a_late_operator_completes_it() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut config = ClusterConfig::of(3, 3);
    config.quorum = (1, 1);
    let mut cluster = Cluster::start(&config).await.unwrap();
    cluster.kill(2).await.unwrap();
    let receipt = cluster.contracts.fire(br#"{"x":7}"#).await.unwrap();
    cluster.gathered(0, 2).await.unwrap();
    cluster.gathered(1, 2).await.unwrap();
    let node = cluster.operators[1].node().unwrap();
    for process in ["trigger-svc", "engine-svc", "aggregator-svc", "p2p-svc"] {
        let before = node.pid(process).await.unwrap();
        node.kill(process).await.unwrap();
        let back = |processes: &serde_json::Value| {
            let rows = processes["items"].as_array().into_iter().flatten();
            let mut rows = rows.filter(|row| row["name"] == process);
            rows.any(|row| row["state"] == "running" && row["pid"] != before.as_raw())
        };
        node.wait_for("/v1/processes", LIMIT, back).await.unwrap();
    }
    cluster.gathered(1, 2).await.unwrap();

    let began = Instant::now();
    cluster.revive(2).await.unwrap();
    let ready = began.elapsed();
    let delivery = cluster.delivered(&receipt).await.unwrap();
    // A loaded machine proves nothing about seconds, so they are told and not judged.
    eprintln!(
        "the late operator was ready after {ready:.1?}, and all knew of the landing after {:.1?}",
        began.elapsed()
    );
    landed_once(&cluster, &[delivery]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrance_that_is_gone_for_good_is_missed_by_nobody() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut cluster = Cluster::start(&ClusterConfig::of(4, 4)).await.unwrap();
    cluster.kill(0).await.unwrap();
    // It enters by the addresses that it remembers, because the only one that it is configured with does not answer.
    cluster.kill(3).await.unwrap();
    cluster.revive(3).await.unwrap();
    cluster.connected().await.unwrap();
    cluster.contracts.set_quorum(3, 4).await.unwrap();
    let delivery = cluster.fire_and_land(br#"{"x":8}"#).await.unwrap();
    landed_once(&cluster, &[delivery]).await;
}
