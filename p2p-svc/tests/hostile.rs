//! Real nodes among hostile peers: whatever is said to them, honest events land once, and memory stays where it was.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::cluster::{Cluster, ClusterConfig};
use libp2p::Multiaddr;
use support::hostile::Hostile;
use support::{address, junk, resident};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use wavs_p2p::wire::v2::{Answer, Question};
use wavs_types::{B256, ServiceId, SignedRecord, Statement};

/// A cluster has dozens of processes, so one test runs after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Messages that the hostile peers try to send in a second, together. They are turned away all the time, so fewer get through;
/// what is meant is ten thousand.
const JUNK_PER_SECOND: u64 = 24_000;
/// Messages after which it was enough.
const JUNK: u64 = 100_000;
/// Hostile peers at once.
const HOSTILE: u64 = 8;
/// What a process may grow by under attack, in KiB: its budgets, queues and caches when they are full.
const GROWTH: u64 = 96 * 1024;

fn service_of(cluster: &Cluster) -> ServiceId {
    cluster.service_id.parse().unwrap()
}

/// Sends its share of junk for as long as it is told to, under a new identity each time that it is turned away.
async fn flood(victim: Multiaddr, service: ServiceId, number: u64, sent: Arc<AtomicU64>, stop: CancellationToken) {
    let share = usize::try_from(JUNK_PER_SECOND / HOSTILE / 100).unwrap();
    // Signing costs more than judging, so a few records are made and the rest is noise in their form: mostly of a generation
    // that nobody knows, for which nobody is blamed, and sometimes with a signature that is none.
    let signed: Vec<_> = (0..64).map(|n| junk::throwaway(service, number << 32 | n)).collect();
    let mut count = number << 32;
    while !stop.is_cancelled() {
        let Ok(mut peer) = Hostile::connect(&victim, &service).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !peer.turned_away && !stop.is_cancelled() {
            peer.run(ticks.tick()).await;
            for _ in 0..share {
                count += 1;
                let which = usize::try_from(count % 64).unwrap();
                let mut bytes = signed[which].encoded().to_vec();
                if !count.is_multiple_of(50) {
                    let at = bytes.len() / 2;
                    bytes[at..at + 8].copy_from_slice(&count.to_be_bytes());
                    bytes[1] = if count.is_multiple_of(40) { bytes[1] } else { 99 };
                }
                peer.say(bytes);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_delays_nothing_for_long_and_costs_no_memory() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let cluster = Cluster::start(&ClusterConfig::of(3, 10)).await.unwrap();
    let service = service_of(&cluster);
    let node = cluster.operators[0].node().unwrap();
    let victim = address(node).await.unwrap();
    cluster.fire_and_land(br#"{"x":1}"#).await.unwrap();
    let mut before = Vec::new();
    for process in ["p2p-svc", "aggregator-svc"] {
        before.push(resident(node, process).await.unwrap());
    }

    let (sent, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let floods = (0..HOSTILE).map(|number| {
        let flood = flood(victim.clone(), service, number, Arc::clone(&sent), stop.clone());
        tokio::spawn(flood)
    });
    let floods: Vec<_> = floods.collect();
    let began = Instant::now();
    let (mut slowest, mut events) = (Duration::ZERO, 1);
    while sent.load(Ordering::Relaxed) < JUNK {
        events += 1;
        let fired = Instant::now();
        let landed = cluster.fire_and_land(format!("{{\"x\":{events}}}").as_bytes()).await;
        landed.unwrap();
        slowest = slowest.max(fired.elapsed());
    }
    stop.cancel();
    for flood in floods {
        flood.await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = sent.load(Ordering::Relaxed) as f64 / seconds;
    eprintln!("{rate:.0} junk messages a second for {seconds:.0} s; the slowest of {events} events took {slowest:.1?}");
    for (process, before) in ["p2p-svc", "aggregator-svc"].into_iter().zip(before) {
        let after = resident(node, process).await.unwrap();
        eprintln!("{process}: {before} KiB before, {after} KiB after");
        assert!(after < before + GROWTH, "{process} grew from {before} to {after} KiB");
    }
    assert_eq!(cluster.contracts.result_count().await.unwrap(), events);
    assert_eq!(cluster.contracts.reverted().await.unwrap(), 0);
    let peers = node.get("/v1/p2p/peers").await.unwrap();
    let rows = peers["items"].as_array().unwrap();
    assert!(
        rows.iter()
            .any(|row| row["reasons"].to_string().contains("turned away")),
        "nobody was turned away: {peers:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_copies_of_a_true_record_are_worth_nothing_and_a_replay_wakes_nothing() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut config = ClusterConfig::of(3, 11);
    config.quorum = (1, 1);
    let mut cluster = Cluster::start(&config).await.unwrap();
    let service = service_of(&cluster);
    let victims = [
        address(cluster.operators[0].node().unwrap()).await.unwrap(),
        address(cluster.operators[1].node().unwrap()).await.unwrap(),
    ];
    let mut listener = Hostile::connect(&victims[0], &service).await.unwrap();
    cluster.kill(2).await.unwrap();
    let receipt = cluster.contracts.fire(br#"{"x":3}"#).await.unwrap();
    // It hears hellos too.
    let seen = loop {
        listener.hears(1).await.unwrap();
        let record = SignedRecord::decode(&listener.heard.remove(0)).unwrap();
        if matches!(record.record().statement, Statement::Attestation(_)) {
            break record;
        }
    };
    for variant in junk::variants(&seen) {
        assert!(SignedRecord::decode(&variant).is_err() || variant != seen.encoded());
        for victim in &victims {
            let mut peer = Hostile::connect(victim, &service).await.unwrap();
            peer.say(variant.clone());
            // An answer to a later question: the record before it was judged.
            peer.ask(Question::Hello { records: Vec::new() }).await;
        }
    }
    cluster.revive(2).await.unwrap();
    let delivery = cluster.delivered(&receipt).await.unwrap();
    assert_eq!(cluster.transactions().await.unwrap(), [delivery.transaction]);

    // The event is over: its true record, once more and by somebody else, is no news.
    let mut peer = Hostile::connect(&victims[0], &service).await.unwrap();
    peer.say(seen.encoded().to_vec());
    assert!(peer.ask(Question::Hello { records: Vec::new() }).await.is_some());
    cluster.fire_and_land(br#"{"x":4}"#).await.unwrap();
    assert_eq!(cluster.contracts.result_count().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oversized_the_slow_and_the_many_keep_nobody_from_landing() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut cluster = Cluster::start(&ClusterConfig::of(3, 12)).await.unwrap();
    let service = service_of(&cluster);
    let victim = address(cluster.operators[0].node().unwrap()).await.unwrap();

    // Far beyond a record, and beyond a frame.
    for size in [5_000, 1_000_000, 8_000_000] {
        let mut peer = Hostile::connect(&victim, &service).await.unwrap();
        for _ in 0..4 {
            peer.say(vec![0x5a; size]);
        }
        peer.ask(Question::Hello { records: Vec::new() }).await;
    }
    let mut asker = Hostile::connect(&victim, &service).await.unwrap();
    let records = vec![vec![1; 100_000]; 20];
    assert!(
        asker.ask(Question::Hello { records }).await.is_none(),
        "a question has a limit"
    );
    // What was missed, and bodies, are for operators.
    let mut asker = Hostile::connect(&victim, &service).await.unwrap();
    let digest = B256::repeat_byte(1);
    assert_eq!(
        asker.ask(Question::Body { service, digest }).await,
        Some(Answer::Refused)
    );

    // These take what they are sent as slowly as can be: never. And a hundred more from one address.
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(Hostile::connect(&victim, &service).await.unwrap());
    }
    let mut many = Vec::new();
    for _ in 0..100 {
        if let Ok(peer) = Hostile::connect(&victim, &service).await {
            many.push(peer);
        }
    }
    assert!(many.len() < 100, "everybody was let in");
    // An operator that comes back finds its place all the same.
    cluster.kill(2).await.unwrap();
    cluster.revive(2).await.unwrap();
    cluster.connected().await.unwrap();
    cluster.contracts.set_quorum(1, 1).await.unwrap();
    for number in 1..=5 {
        let data = format!("{{\"x\":{number}}}");
        cluster.fire_and_land(data.as_bytes()).await.unwrap();
    }
    assert_eq!(cluster.contracts.result_count().await.unwrap(), 5);
    drop((slow, many));
}
