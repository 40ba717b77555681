//! What a hostile or broken peer does costs its own connection and nothing else: beside each attack, a well-behaved
//! client keeps working on the connection that it had before.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wavs_ipc::preamble::{Answer, Hello};
use wavs_ipc::{Contract, ErrorCode, Limits, Refusal, Retry, VersionRange};

/// So short that a test may wait for it, so long that a busy machine keeps up with a well-behaved client.
const SHORT: Duration = Duration::from_millis(500);

fn impatient() -> Limits {
    Limits {
        preamble_timeout: SHORT,
        frame_timeout: SHORT,
        ..Limits::default()
    }
}

#[tokio::test]
async fn garbage_instead_of_requests() {
    let server = Harness::start(Limits::default());
    let good = server.good_client().await;
    for payload in [&b"\xff\xff\xff\xff\xff"[..], b"", b"\x00", b"\x07garbage"] {
        let mut bad = server.raw_open().await;
        bad.write_all(&frame(payload)).await.unwrap();
        assert_eq!(ended(bad).await, 0, "{payload:?}");
        assert_works(&good).await;
    }
}

#[tokio::test]
async fn a_request_with_left_over_bytes() {
    let server = Harness::start(Limits::default());
    let good = server.good_client().await;
    let mut bad = server.raw_open().await;
    bad.write_all(&frame(b"\x00\x01\xe8\x07\x00\x00\x00\x00\x02hi and more"))
        .await
        .unwrap();
    assert_eq!(ended(bad).await, 0);
    assert_works(&good).await;
}

#[tokio::test]
async fn a_huge_frame() {
    let server = Harness::start(Limits::default());
    let good = server.good_client().await;
    for length in [u32::MAX, 8 * 1024 * 1024 + 1] {
        let mut bad = server.raw_open().await;
        bad.write_all(&length.to_be_bytes()).await.unwrap();
        assert_eq!(ended(bad).await, 0);
        assert_works(&good).await;
    }
}

#[tokio::test]
async fn the_longest_deadline_that_fits_the_wire_is_served() {
    let server = Harness::start(Limits::default());
    let good = server.good_client().await;
    let mut bad = server.raw_open().await;
    // Call 1, u32::MAX milliseconds, no trace, echo "hi".
    bad.write_all(&frame(b"\x00\x01\xff\xff\xff\xff\x0f\x00\x00\x00\x00\x02hi"))
        .await
        .unwrap();
    let expected = frame(b"\x01\x00\x00\x00\x02hi");
    let mut reply = vec![0; expected.len()];
    within(bad.read_exact(&mut reply)).await.unwrap();
    assert_eq!(reply, expected);
    assert_works(&good).await;
}

#[tokio::test]
async fn a_client_with_a_deadline_of_years() {
    let server = Harness::start(Limits::default());
    let good = server.good_client().await;
    for deadline in [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(100 * 365 * 86_400),
    ] {
        let answer = good
            .call(deadline, async |client, context| {
                client.echo(context, "hi".into()).await
            })
            .await;
        assert_eq!(answer.unwrap(), "hi");
    }
    assert_works(&good).await;
}

#[tokio::test]
async fn a_preamble_that_does_not_end() {
    let server = Harness::start(impatient());
    let good = server.good_client().await;
    let mut bad = server.raw().await;
    bad.write_all(&hello().encode()[..10]).await.unwrap();
    assert_eq!(ended(bad).await, 0);
    assert_works(&good).await;
}

#[tokio::test]
async fn a_frame_that_does_not_end() {
    let server = Harness::start(impatient());
    // This one stays idle for at least as long as the others stall.
    let good = server.good_client().await;
    for part in [&b"\x00\x00"[..], b"\x00\x00\x00\x10", b"\x00\x00\x00\x10abc"] {
        let mut bad = server.raw_open().await;
        bad.write_all(part).await.unwrap();
        assert_eq!(ended(bad).await, 0, "{part:?}");
    }
    assert_works(&good).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answers() {
    let server = Harness::start(Limits {
        connections: 2,
        ..impatient()
    });
    let good = server.good_client().await;
    let mut bad = server.raw_open().await;
    for id in 1..=8 {
        // Call `id`, one second, no trace, a blob of 1 MiB.
        bad.write_all(&frame(&[0, id, 0xe8, 0x07, 0, 0, 0, 1, 0x80, 0x80, 0x40]))
            .await
            .unwrap();
    }
    // Both connections are taken; a third one gets in when the stuck one has been closed.
    let third = server.client();
    within(async {
        while let Err(error) = third.connect(LONG).await {
            assert_eq!(error.code, ErrorCode::Busy);
        }
    })
    .await;
    assert_works(&third).await;
    assert_works(&good).await;
}

#[tokio::test]
async fn a_wrong_preamble_is_refused_with_a_code() {
    let server = Harness::start(Limits::default());
    let good = server.good_client().await;
    let right = hello();
    let mut wrong_magic = right.encode();
    wrong_magic[7] = 2;
    let mut reserved = right.encode();
    reserved[15] = 1;
    let unknown = Hello {
        contract: 60_999,
        ..right
    };
    let newer = Hello {
        versions: VersionRange { min: 2, max: 9 },
        ..right
    };
    for (bytes, refusal) in [
        (*b"GET / HTTP/1.1\r\nHost: localhost\r", Refusal::WrongMagic),
        (wrong_magic, Refusal::WrongMagic),
        (reserved, Refusal::Malformed),
        (unknown.encode(), Refusal::UnknownContract),
        (newer.encode(), Refusal::NoCommonVersion),
    ] {
        let mut bad = server.raw().await;
        bad.write_all(&bytes).await.unwrap();
        assert_eq!(answer(&mut bad).await.verdict, Err(refusal));
        assert_eq!(ended(bad).await, 0);
        assert_works(&good).await;
    }
}

#[tokio::test]
async fn a_flood_of_connections() {
    let limits = Limits {
        connections: 4,
        ..Limits::default()
    };
    let server = Harness::start(limits);
    let good = server.good_client().await;
    let mut flood = vec![
        server.raw_open().await,
        server.raw_open().await,
        server.raw_open().await,
    ];
    for _ in 0..8 {
        let mut refused = server.raw().await;
        assert_eq!(answer(&mut refused).await.verdict, Err(Refusal::TooManyConnections));
        flood.push(refused);
    }
    let late = server.client();
    let error = echo(&late, "hi").await.unwrap_err();
    assert_eq!((error.code, error.retry), (ErrorCode::Busy, Retry::Backoff), "{error}");
    assert_works(&good).await;
    drop(flood);
    within(async { while late.connect(LONG).await.is_err() {} }).await;
    assert_works(&late).await;
    assert_works(&good).await;
}

#[tokio::test]
async fn a_user_without_rights_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can connect as another user");
        return;
    }
    let server = Harness::start(Limits::default());
    let good = server.good_client().await;
    // Open every door but the credential check.
    for path in server.path.ancestors().take(3) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let script = "socket(S,PF_UNIX,SOCK_STREAM,0); connect(S,sockaddr_un($ARGV[0])) or die $!; \
                  read(S,$b,32); binmode STDOUT; print $b";
    let mut foreign = Command::new("perl");
    foreign
        .args(["-MSocket", "-e", script])
        .arg(&server.path)
        .uid(65_534)
        .gid(65_534);
    let output = match tokio::task::spawn_blocking(move || foreign.output()).await.unwrap() {
        Ok(output) => output,
        Err(cause) => {
            eprintln!("skipped: cannot run perl as another user: {cause}");
            return;
        }
    };
    assert!(output.status.success(), "{output:?}");
    let answer = Answer::decode(&output.stdout.try_into().unwrap()).unwrap();
    assert_eq!(answer.verdict, Err(Refusal::PeerNotAllowed));
    assert_works(&good).await;
}

#[tokio::test]
async fn requests_beyond_the_bound_of_a_connection() {
    let server = Harness::start(Limits {
        in_flight: 2,
        ..Limits::default()
    });
    let other = server.good_client().await;
    let greedy = server.good_client().await;
    let blocked = [tokio::spawn(block(greedy.clone())), tokio::spawn(block(greedy.clone()))];
    wait_for(&server.probe.begun, 2).await;
    let error = echo(&greedy, "hi").await.unwrap_err();
    assert_eq!((error.code, error.retry), (ErrorCode::Busy, Retry::Backoff));
    assert_works(&other).await;
    server.probe.gate.add_permits(2);
    for call in blocked {
        within(call).await.unwrap().unwrap();
    }
    assert_works(&greedy).await;
}

#[tokio::test]
async fn handlers_beyond_the_bound_of_a_socket() {
    let server = Harness::start(Limits {
        running: 1,
        ..Limits::default()
    });
    let client = server.good_client().await;
    let blocked = tokio::spawn(block(client.clone()));
    wait_for(&server.probe.begun, 1).await;
    let error = echo(&client, "hi").await.unwrap_err();
    assert_eq!((error.code, error.retry), (ErrorCode::Busy, Retry::Backoff));
    server.probe.gate.add_permits(1);
    within(blocked).await.unwrap().unwrap();
    assert_works(&client).await;
}

#[test]
fn the_test_contracts_disagree_as_the_tests_assume() {
    assert_eq!(ProbeClient::ID, NewerClient::ID);
    assert_eq!(ProbeClient::VERSIONS.common(NewerClient::VERSIONS), None);
}
