//! An event on a chain becomes a verified result on that chain.

use e2e::scenario::Scenario;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_becomes_a_verified_result() {
    let scenario = Scenario::start("square").await.unwrap();
    let landed = scenario.fire_and_land(br#"{"x":12}"#).await.unwrap();
    assert_eq!(landed.data.as_ref(), br#"{"y":144}"#);
}
