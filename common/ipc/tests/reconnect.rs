//! A [`wavs_ipc::Reconnecting`] client while its server is away, dies, restarts or hangs.

mod support;

use std::time::Duration;

use support::*;
use tokio_util::sync::CancellationToken;
use wavs_ipc::{ErrorCode, Limits, Retry, socket};

#[tokio::test]
async fn many_calls_share_one_connection() {
    let server = Harness::start(Limits::default());
    let client = server.client();
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { echo(&client, &number.to_string()).await })
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(within(call).await.unwrap().unwrap(), number.to_string());
    }
    assert_eq!(*client.connected().borrow(), 1);
}

#[tokio::test]
async fn a_restarted_server_is_found_again_and_announced() {
    let mut server = Harness::start(Limits::default());
    let client = server.good_client().await;
    let mut connected = client.connected();
    assert_eq!(*connected.borrow_and_update(), 1);
    for generation in 2..=4 {
        let (_, directory) = server.stop().await;
        server = Harness::start_in(directory, Limits::default());
        // The end of the old connection may not have been noticed yet, so the first call may fail.
        within(async {
            while let Err(error) = echo(&client, "hi").await {
                assert_eq!(error.code, ErrorCode::Transport, "{error}");
            }
        })
        .await;
        within(connected.changed()).await.unwrap();
        assert_eq!(*connected.borrow_and_update(), generation);
    }
    drop(server);
}

#[tokio::test]
async fn a_death_during_a_call_is_ambiguous() {
    // A runtime of its own, so that all of the server can go at once.
    let process = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = process.spawn(async { Harness::start(Limits::default()) });
    let server = server.await.unwrap();
    let client = server.good_client().await;
    let blocked = tokio::spawn(block(client.clone()));
    wait_for(&server.probe.begun, 1).await;
    process.shutdown_background();
    let error = within(blocked).await.unwrap().unwrap_err();
    assert_eq!(
        (error.code, error.retry),
        (ErrorCode::Transport, Retry::Ambiguous),
        "{error}"
    );
    let _server = Harness::start_in(server.remains(), Limits::default());
    within(async { while echo(&client, "hi").await.is_err() {} }).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_costs_nothing_and_is_found_when_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let client = client_of(&directory.path().join("run/rpc.sock"));
    for _ in 0..3 {
        let error = echo(&client, "hi").await.unwrap_err();
        assert_eq!(
            (error.code, error.retry),
            (ErrorCode::Transport, Retry::Backoff),
            "{error}"
        );
    }
    assert_eq!(*client.connected().borrow(), 0);
    let _server = Harness::start_in(directory, Limits::default());
    assert_works(&client).await;
}

#[tokio::test]
async fn calls_queue_at_an_inherited_socket_while_its_process_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rpc.sock");
    let inherited = socket::bind_fd(&path).unwrap();
    let client = client_of(&path);

    let early = tokio::spawn({
        let client = client.clone();
        async move { echo(&client, "early").await }
    });
    for (generation, text) in [(1, "early"), (2, "again")] {
        let stop = CancellationToken::new();
        let listener = socket::inherit(inherited.try_clone().unwrap()).unwrap();
        let server = tokio::spawn(serve(listener, new_probe(), Limits::default(), stop.clone()));
        within(async { while echo(&client, text).await.is_err() {} }).await;
        assert_eq!(*client.connected().borrow(), generation);
        stop.cancel();
        within(server).await.unwrap();
    }
    assert_eq!(within(early).await.unwrap().unwrap(), "early");
}

#[tokio::test]
async fn a_server_that_never_accepts_costs_a_call_its_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rpc.sock");
    let _inherited = socket::bind_fd(&path).unwrap();
    let error = client_of(&path)
        .call(Duration::from_millis(50), async |client, context| {
            client.echo(context, "hi".into()).await
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.retry),
        (ErrorCode::Transport, Retry::Backoff),
        "{error}"
    );
    assert!(error.detail.contains("did not answer in time"), "{error}");
}
