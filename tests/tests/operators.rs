//! Several operators gather signatures and land each event once, with real processes on a real chain.

use e2e::cluster::{Cluster, ClusterConfig};

#[tokio::test(flavor = "multi_thread")]
async fn three_operators_land_an_event_once_and_two_of_them_the_next() {
    let mut cluster = Cluster::start(&ClusterConfig::of(3, 1)).await.unwrap();
    let first = cluster.fire_and_land(br#"{"x":3}"#).await.unwrap();
    assert_eq!(
        cluster
            .contracts
            .result(first.event_id)
            .await
            .unwrap()
            .unwrap()
            .as_ref(),
        br#"{"y":9}"#
    );
    assert_eq!(
        cluster.transactions().await.unwrap(),
        [first.transaction],
        "{}",
        cluster.logs()
    );

    cluster.kill(2).await.unwrap();
    let second = cluster.fire_and_land(br#"{"x":4}"#).await.unwrap();
    assert_eq!(
        cluster
            .contracts
            .result(second.event_id)
            .await
            .unwrap()
            .unwrap()
            .as_ref(),
        br#"{"y":16}"#
    );
    assert_eq!(cluster.contracts.result_count().await.unwrap(), 2);
}
