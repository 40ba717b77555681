//! Names that lead to other places than they seem to: answers with private addresses, and answers that change.
//!
//! The process sees a resolver of the test in place of the machine's, which takes root and a mount namespace; elsewhere the
//! test is skipped with the reason.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::net::{TcpListener, UdpSocket};

use crate::support::process::{Engine, Launch};
use crate::support::{Job, guest_bytes};

/// The address that the operator opened to guests.
const OPEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
/// An address that guests must not reach.
const CLOSED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// An address inside of a private network.
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Answers for the names of the tests.
struct Resolver {
    asked: Arc<AtomicUsize>,
}

impl Resolver {
    /// Serves on port 53 of an address of this test process alone.
    async fn start() -> std::io::Result<(Self, Ipv4Addr)> {
        let [.., a, b] = std::process::id().to_be_bytes();
        let at = Ipv4Addr::new(127, 53, a, b.max(1));
        let socket = UdpSocket::bind((at, 53)).await?;
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let answer = answer(&question[..length], &count);
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Ok((Self { asked }, at))
    }
}

/// The answer to a question of one name (RFC 1035, section 4.1). Only questions for IPv4 addresses have answers.
fn answer(question: &[u8], asked: &AtomicUsize) -> Vec<u8> {
    let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let name = String::from_utf8_lossy(&question[13..name_end - 1]);
    let wants_v4 = question[name_end..name_end + 2] == [0, 1];
    let addresses: &[Ipv4Addr] = match name.split('\u{4}').next() {
        _ if !wants_v4 => &[],
        Some("private") => &[PRIVATE],
        Some("mixed") => &[OPEN, PRIVATE],
        // First an address that passes, then another one.
        Some("rebind") if asked.fetch_add(1, Ordering::SeqCst) == 0 => &[OPEN],
        Some("rebind") => &[CLOSED],
        _ => &[],
    };
    let mut bytes = question[..2].to_vec();
    // A response, recursion available, no error; one question, so many answers.
    bytes.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    bytes.extend(&question[12..name_end + 4]);
    for address in addresses {
        // The name by reference, type A, class IN, no time to live, four bytes.
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        bytes.extend(address.octets());
    }
    bytes
}

/// Why the process cannot be given another resolver here.
fn obstacle() -> Option<&'static str> {
    let possible = Command::new("unshare").args(["--mount", "true"]).output();
    (!possible.is_ok_and(|output| output.status.success())).then_some("mount namespaces take root and `unshare`")
}

/// Serves a page on `address`, and counts connections.
async fn site(address: SocketAddr) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let visits = Arc::new(AtomicUsize::new(0));
    let count = visits.clone();
    let page = axum::Router::new().fallback(move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        "a page"
    });
    tokio::spawn(async move { axum::serve(listener, page).await });
    (port, visits)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_is_the_address_that_is_connected_to() {
    if let Some(reason) = obstacle() {
        eprintln!("skipped: {reason}");
        return;
    }
    let (resolver, at) = match Resolver::start().await {
        Ok(started) => started,
        Err(cause) => {
            eprintln!("skipped: no resolver on port 53: {cause}");
            return;
        }
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("resolv.conf");
    fs::write(&file, format!("nameserver {at}\noptions timeout:5 attempts:2\n")).unwrap();
    let mut engine = Engine::launch(Launch {
        variables: vec![("WAVS_ENGINE__HTTP_ALLOW_PRIVATE", OPEN.to_string())],
        resolver: Some(file),
        ..Launch::default()
    })
    .await;
    let pid = engine.pid();
    let http = engine.upload(&guest_bytes("http-get")).await;
    let hostile = engine.upload(&guest_bytes("hostile")).await;
    let (port, open) = site((OPEN, 0).into()).await;
    let (_, closed) = site((CLOSED, port).into()).await;
    let get = async |name: &str| {
        let job = Job::new(http, &format!("http://{name}.test:{port}/"))
            .permissions(json!({"allowed_http_hosts": {"only": ["*.test"]}}));
        engine.outcome(&job).await.unwrap().result
    };
    for name in ["private", "mixed"] {
        let failure = get(name).await.unwrap_err();
        assert!(
            failure.detail.contains("DestinationIpProhibited"),
            "{name}: {failure:?}"
        );
    }
    // The name is looked up once for each request, and the address that was checked is the one that is used.
    get("rebind").await.unwrap();
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    assert_eq!(open.load(Ordering::SeqCst), 1);
    let failure = get("rebind").await.unwrap_err();
    assert!(failure.detail.contains("DestinationIpProhibited"), "{failure:?}");

    // A guest that looks names up by itself meets the same check when it connects.
    let job = Job::new(hostile, &format!("connect:rebind.test {port}"))
        .permissions(json!({"raw_sockets": true, "dns_resolution": true}));
    let responses = engine.outcome(&job).await.unwrap().result.unwrap();
    let told = String::from_utf8_lossy(&responses[0].payload).into_owned();
    assert!(told.contains("access-denied") && !told.contains("connected"), "{told}");
    assert_eq!(closed.load(Ordering::SeqCst), 0);
    assert_eq!(engine.pid(), pid);
}
