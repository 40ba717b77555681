//! The process over its real sockets.

mod support;

use std::time::Duration;

use support::{Fixture, Job, PATIENCE};
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::engine::{EngineClient, Prefetch, World};
use wavs_ipc::contract::engine_admin::EngineAdminClient;
use wavs_ipc::contract::lifecycle::LifecycleClient;
use wavs_ipc::{ErrorCode, Identity, Json, Reconnecting, Role, socket};
use wavs_service::{LifecycleServer, Metrics, ProcessName, StatusBoard};

#[tokio::test]
async fn a_component_is_uploaded_prefetched_and_run_over_the_sockets() {
    let fixture = Fixture::new();
    let run = fixture.directory.path().join("run");
    let (ctl, rpc) = (run.join("ctl.sock"), run.join("rpc.sock"));
    let shutdown = CancellationToken::new();
    let lifecycle = LifecycleServer::new(StatusBoard::new(ProcessName::Engine), Metrics::new(), shutdown.clone());
    fixture.node.report(&lifecycle.status);
    let server = tokio::spawn(wavs_engine::serve(
        fixture.node.clone(),
        lifecycle,
        socket::bind(&ctl).unwrap(),
        socket::bind(&rpc).unwrap(),
        shutdown,
    ));
    let admin = Reconnecting::<EngineAdminClient>::new(&ctl, Identity::new(Role::Supervisor));
    let control = Reconnecting::<LifecycleClient>::new(&ctl, Identity::new(Role::Supervisor));
    let engine = Reconnecting::<EngineClient>::new(&rpc, Identity::new(Role::Aggregator));

    std::fs::write(run.join("uploads/echo"), support::guest_bytes("echo")).unwrap();
    let stored = admin
        .call(PATIENCE, |client, context| async move {
            client.store_component(context, "echo".into()).await
        })
        .await
        .unwrap();
    assert!(!run.join("uploads/echo").exists());

    let request = Prefetch {
        source: Json::from_text(serde_json::json!({"digest": stored.digest.to_string()}).to_string()),
        world: World::Operator,
        metered: false,
        deterministic: false,
    };
    engine
        .call(PATIENCE, |client, context| async move {
            client.prefetch(context, request).await
        })
        .await
        .unwrap();

    let job = Job::new(stored.digest, "over the wire").operator();
    let outcome = engine
        .call(PATIENCE, |client, context| async move {
            client.run_operator(context, job).await
        })
        .await
        .unwrap();
    assert_eq!(outcome.result.unwrap()[0].payload, b"over the wire");

    let nonsense = wavs_ipc::contract::engine::OperatorJob {
        action: Json::from_text("{"),
        ..Job::new(stored.digest, "x").operator()
    };
    let error = engine
        .call(PATIENCE, |client, context| async move {
            client.run_operator(context, nonsense).await
        })
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Invalid);

    let status = control
        .call(PATIENCE, |client, context| async move { client.status(context).await })
        .await
        .unwrap();
    assert_eq!(status.queues.len(), 2);
    control
        .call(Duration::from_secs(5), |client, context| async move {
            client.drain(context).await
        })
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap();
}
