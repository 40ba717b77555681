//! What a caller sees: answers, typed errors, and what became of work whose caller went away.

mod support;

use std::time::Duration;

use support::*;
use wavs_ipc::bounds::MAX_PAYLOAD;
use wavs_ipc::{ConnectError, ErrorCode, Limits, Reconnecting, Refusal, Retry, Stopped, connect};

#[tokio::test]
async fn an_error_of_the_method_arrives_as_it_is() {
    let server = Harness::start(Limits::default());
    let client = server.good_client().await;
    let error = client
        .call(LONG, async |client, context| {
            client.fail(context, "why \"so\"".into()).await
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.retry, &*error.detail),
        (ErrorCode::Conflict, Retry::Never, "why \"so\"")
    );
}

#[tokio::test]
async fn a_request_that_does_not_fit_fails_alone() {
    let server = Harness::start(Limits::default());
    let client = server.good_client().await;
    let blocked = tokio::spawn(block(client.clone()));
    wait_for(&server.probe.begun, 1).await;
    let swallow = |size: usize| {
        client.call(LONG, move |client, context| async move {
            client.swallow(context, vec![1; size]).await
        })
    };
    let error = swallow(MAX_PAYLOAD).await.unwrap_err();
    assert_eq!(
        (error.code, error.retry),
        (ErrorCode::TooLarge, Retry::Never),
        "{error}"
    );
    assert_eq!(swallow(MAX_PAYLOAD - 100).await.unwrap() as usize, MAX_PAYLOAD - 100);
    server.probe.gate.add_permits(1);
    within(blocked).await.unwrap().unwrap();
    assert_works(&client).await;
}

#[tokio::test]
async fn a_response_that_does_not_fit_fails_alone() {
    let server = Harness::start(Limits::default());
    let client = server.good_client().await;
    let blocked = tokio::spawn(block(client.clone()));
    wait_for(&server.probe.begun, 1).await;
    let blob = |size: u32| {
        client.call(
            LONG,
            move |client, context| async move { client.blob(context, size).await },
        )
    };
    for size in [u32::try_from(MAX_PAYLOAD).unwrap(), 20_000_000] {
        let error = blob(size).await.unwrap_err();
        assert_eq!(
            (error.code, error.retry),
            (ErrorCode::TooLarge, Retry::Never),
            "{error}"
        );
    }
    assert_eq!(blob(4_000_000).await.unwrap().len(), 4_000_000);
    server.probe.gate.add_permits(1);
    within(blocked).await.unwrap().unwrap();
    assert_works(&client).await;
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let server = Harness::start(Limits::default());
    let client = server.good_client().await;
    let other = server.good_client().await;
    let error = client
        .call(LONG, async |client, context| client.panic(context).await)
        .await
        .unwrap_err();
    assert_eq!((error.code, error.retry), (ErrorCode::Internal, Retry::Ambiguous));
    assert!(error.detail.contains("panicked"), "{error}");
    assert_works(&client).await;
    assert_works(&other).await;
}

#[tokio::test]
async fn a_passed_deadline_is_ambiguous_and_the_work_goes_on() {
    let server = Harness::start(Limits::default());
    let client = server.good_client().await;
    let error = client
        .call(Duration::from_millis(50), async |client, context| {
            client.block(context).await
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.retry),
        (ErrorCode::Deadline, Retry::Ambiguous),
        "{error}"
    );
    assert_works(&client).await;
    server.probe.gate.add_permits(1);
    wait_for(&server.probe.finished, 1).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_work() {
    let server = Harness::start(Limits::default());
    let client = server.good_client().await;
    let cancelled = tokio::spawn(block(client.clone()));
    wait_for(&server.probe.begun, 1).await;
    cancelled.abort();
    assert_works(&client).await;
    let disconnected = tokio::spawn(block(client));
    wait_for(&server.probe.begun, 2).await;
    disconnected.abort();
    server.probe.gate.add_permits(2);
    wait_for(&server.probe.finished, 2).await;
}

#[tokio::test]
async fn a_stop_answers_what_runs() {
    let server = Harness::start(Limits::default());
    let client = server.good_client().await;
    let blocked = tokio::spawn(block(client.clone()));
    wait_for(&server.probe.begun, 1).await;
    server.begin_stop();
    // Whatever comes meanwhile is refused at once, so that its caller knows that nothing was done.
    within(async {
        while echo(&client, "hi").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = echo(&client, "hi").await.unwrap_err();
    assert_eq!(
        (error.code, error.retry),
        (ErrorCode::Draining, Retry::Backoff),
        "{error}"
    );
    server.probe.gate.add_permits(1);
    within(blocked).await.unwrap().unwrap();
    let (stopped, _directory) = server.stop().await;
    assert_eq!(stopped, Stopped { unfinished: 0 });
    let error = echo(&client, "hi").await.unwrap_err();
    assert_eq!(
        (error.code, error.retry),
        (ErrorCode::Transport, Retry::Backoff),
        "{error}"
    );
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever_and_tells_who_is_cut_off() {
    let server = Harness::start(Limits {
        stop_grace: Duration::from_millis(50),
        ..Limits::default()
    });
    let client = server.good_client().await;
    let blocked = tokio::spawn(block(client.clone()));
    wait_for(&server.probe.begun, 1).await;
    let (stopped, _directory) = server.stop().await;
    assert_eq!(stopped, Stopped { unfinished: 1 });
    let error = within(blocked).await.unwrap().unwrap_err();
    assert_eq!(
        (error.code, error.retry),
        (ErrorCode::Draining, Retry::Ambiguous),
        "{error}"
    );
}

#[tokio::test]
async fn a_build_that_does_not_fit_is_told_so() {
    let server = Harness::start(Limits::default());
    let good = server.good_client().await;
    let refused = connect::<NewerClient>(&server.path, identity(), LONG).await;
    let Err(ConnectError::Refused(refused)) = refused else {
        panic!("a refusal, not {:?}", refused.err())
    };
    assert_eq!(refused.refusal, Refusal::NoCommonVersion);
    assert!(refused.refusal.is_skew());
    assert_eq!(
        (refused.ours.to_string(), refused.theirs.to_string()),
        ("2..=3".into(), "1..=1".into())
    );

    let foreign = Reconnecting::<ForeignClient>::new(&server.path, identity());
    let seen = foreign.refused();
    let error = foreign
        .call(LONG, async |client, context| client.echo(context, "hi".into()).await)
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.retry),
        (ErrorCode::Denied, Retry::Backoff),
        "{error}"
    );
    assert_eq!(
        seen.borrow().map(|refused| refused.refusal),
        Some(Refusal::UnknownContract)
    );
    assert_works(&good).await;
}
