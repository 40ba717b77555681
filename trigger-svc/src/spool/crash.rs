//! A process that is killed between any two statements of the spool: afterwards every occurrence is handed on exactly once.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wavs_ipc::Json;
use wavs_ipc::contract::trigger_feed::SpoolBody;
use wavs_store::fault::{self, Crash};
use wavs_types::{B256, Trigger, TriggerConfig, TriggerData};

use super::tests::{chain, route};
use super::*;
use crate::watch::Route;

const QUOTA: Quota = Quota {
    entries: 1_000,
    bytes: 1_000_000,
};
/// Height of the chain.
const LAST: u64 = 12;
/// The chain is replaced above this block once its [`REPLACED`] was looked at.
const COMMON: u64 = 6;
const REPLACED: u64 = 8;
const COPIES: u32 = 3;
/// Every place between two statements of the store; those of the spool are read from its sources.
const STORE_POINTS: [&str; 5] = [
    "log.appended",
    "writer.ran",
    "writer.before_commit",
    "writer.committed",
    "writer.answered",
];

/// The block at a height, before or after the reorganisation.
fn block(height: u64, replaced: bool) -> B256 {
    let branch = u8::from(replaced && height > COMMON);
    B256::new(std::array::from_fn(|index| {
        if index == 0 {
            branch
        } else {
            u8::try_from(height).unwrap()
        }
    }))
}

fn key_of(height: u64, replaced: bool) -> String {
    format!("{}/{}/0", chain(), block(height, replaced))
}

fn trigger(workflow: &str, source_key: &str) -> Entry {
    Entry {
        route: Some(route(workflow)),
        // The text is all that the check needs.
        body: SpoolBody::ServiceUri {
            service_id: route(workflow).0,
            uri: format!("{source_key} for {workflow}"),
            height: 0,
        },
        fired: None,
    }
}

fn seen(source_key: String, height: u64, workflows: &[&str]) -> Occurrence {
    let entries = workflows
        .iter()
        .map(|workflow| trigger(workflow, &source_key))
        .collect();
    Occurrence::Seen {
        source_key,
        height,
        entries,
    }
}

fn watch() -> Watch {
    let (service_id, workflow_id) = route("clock");
    let trigger = Trigger::Cron {
        schedule: "* * * * * *".to_owned(),
        start_time: None,
        end_time: None,
    };
    Watch {
        generation: 1,
        routes: vec![Route {
            service_id,
            workflow_id,
            trigger,
            active: true,
            since: None,
        }],
        ..Watch::default()
    }
}

/// The other side: what it took is on disk before it acknowledges.
struct Consumer {
    path: PathBuf,
    taken: SpoolCursor,
}

impl Consumer {
    fn open(directory: &Path) -> Self {
        let path = directory.join("taken");
        let taken = read(&path).keys().next_back().copied().unwrap_or(0);
        Self {
            path,
            taken: SpoolCursor { spool: 0, seq: taken },
        }
    }

    async fn take(&mut self, spool: &Spool) {
        self.taken.spool = spool.id;
        let batch = spool.pull(self.taken, 100, Duration::ZERO).await.unwrap();
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)
            .unwrap();
        for item in &batch.items {
            let text = match &item.body {
                SpoolBody::ServiceUri { uri, .. } => uri.clone(),
                SpoolBody::Orphaned { source_key } => format!("orphaned {source_key}"),
                SpoolBody::Trigger { source_key, .. } => source_key.clone(),
            };
            file.write_all(format!("{} {text}\n", item.seq).as_bytes()).unwrap();
            self.taken.seq = item.seq;
        }
        spool.ack(self.taken).await.unwrap();
    }
}

/// What was taken, by number. A number that comes twice is a failure.
fn read(path: &Path) -> BTreeMap<u64, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut taken = BTreeMap::new();
    for line in text.lines() {
        let (seq, text) = line.split_once(' ').unwrap();
        let before = taken.insert(seq.parse().unwrap(), text.to_owned());
        assert_eq!(before, None, "entry {seq} was taken twice");
    }
    taken
}

/// Lives through everything that the spool does, from wherever the last process got to.
async fn live(directory: &Path) {
    let spool = Spool::open(directory.join("spool.db"), QUOTA).await.unwrap();
    let mut consumer = Consumer::open(directory);
    let reorganised = directory.join("reorganised");
    let mut wanted = watch();
    let beginning = Beginning {
        chain: chain(),
        head: Some(0),
        unused: false,
    };
    if spool.position(&chain()).await.unwrap().is_none() {
        // A route that is gone at the next statement of what is wanted, so that its clock goes too.
        let mut gone = wanted.clone();
        gone.routes[0].workflow_id = "gone".parse().unwrap();
        spool.store_watch(&gone, vec![beginning]).await.unwrap();
    }
    wanted.generation = 2;
    spool.store_watch(&wanted, vec![]).await.unwrap();
    loop {
        let replaced = reorganised.exists();
        realign(&spool, replaced).await;
        let position = spool.position(&chain()).await.unwrap().unwrap();
        tick(&spool, &wanted.routes[0], position.height).await;
        if position.height >= REPLACED && !replaced {
            consumer.take(&spool).await;
            std::fs::write(&reorganised, b"").unwrap();
            continue;
        }
        if position.height == LAST {
            break;
        }
        let height = position.height + 1;
        let progress = Progress {
            position: Position {
                height,
                scanned: height,
            },
            generation: 2,
            blocks: vec![(height, block(height, replaced))],
            window: 8,
        };
        let occurrences = vec![seen(key_of(height, replaced), height, &["one", "two"])];
        spool.record(&chain(), occurrences, Some(progress)).await.unwrap();
        fault::acknowledge(height);
        consumer.take(&spool).await;
    }
    spool.inject(injection()).await.unwrap();
    consumer.take(&spool).await;
}

/// What a session does when it finds that the chain was replaced.
async fn realign(spool: &Spool, replaced: bool) {
    let remembered = spool.blocks(&chain()).await.unwrap();
    let common = remembered
        .iter()
        .find(|(height, hash)| block(*height, replaced) == *hash);
    let Some((fork, _)) = common else { return };
    let recorded = spool.recorded_since(&chain(), fork + 1).await.unwrap();
    let orphans: Vec<_> = recorded
        .into_iter()
        .filter(|(height, key)| *key != key_of(*height, replaced))
        .map(|(_, key)| key)
        .collect();
    if remembered[0].0 != *fork || !orphans.is_empty() {
        spool.rewind(&chain(), *fork, orphans).await.unwrap();
    }
}

/// The slots of a schedule, one per block, unless they were released before.
async fn tick(spool: &Spool, route: &Route, slot: u64) {
    let mark = spool.marks(std::slice::from_ref(route)).await.unwrap()[0].unwrap();
    let position = mark.position.unwrap_or(0);
    for slot in position + 1..=slot {
        let occurrence = seen(format!("cron/{slot}"), slot, &["clock"]);
        let advance = Advance::new(route, None, Some(slot));
        spool
            .record_clock("cron", vec![occurrence], vec![advance], Some(1))
            .await
            .unwrap();
    }
}

fn injection() -> Inject {
    let (service_id, workflow_id) = route("one");
    let trigger = Trigger::Manual;
    let config = TriggerConfig {
        service_id,
        workflow_id,
        trigger,
    };
    Inject {
        id: 9,
        config: Json::encode(&config).unwrap(),
        data: vec![Json::encode(&TriggerData::Raw(vec![1])).unwrap()],
        count: COPIES,
    }
}

/// Checks what was taken in the end.
fn check(directory: &Path, case: &str) {
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    for text in read(&directory.join("taken")).into_values() {
        match text.strip_prefix("orphaned ") {
            Some(key) => {
                for workflow in ["one", "two"] {
                    *counts.entry(format!("{key} for {workflow}")).or_default() -= 1;
                }
            }
            None => *counts.entry(text).or_default() += 1,
        }
    }
    counts.retain(|_, count| *count != 0);
    let mut expected = BTreeMap::new();
    for height in 1..=LAST {
        for workflow in ["one", "two"] {
            expected.insert(format!("{} for {workflow}", key_of(height, true)), 1);
        }
        expected.insert(format!("cron/{height} for clock"), 1);
    }
    for copy in 0..COPIES {
        expected.insert(format!("injected/{:032x}/{copy}", 9), 1);
    }
    assert_eq!(counts, expected, "{case}");
}

/// Runs in the process that is killed.
#[tokio::test]
async fn victim() {
    if let Some(directory) = fault::directory() {
        live(&directory).await;
    }
}

/// The places between two statements of the spool, as its sources name them.
fn points() -> Vec<String> {
    let sources = [
        include_str!("clocks.rs"),
        include_str!("mod.rs"),
        include_str!("position.rs"),
        include_str!("schema.rs"),
    ];
    let named = sources
        .iter()
        .flat_map(|source| source.split("fault::point(\"").skip(1));
    let named = named.map(|rest| rest.split('"').next().unwrap().to_owned());
    named.chain(STORE_POINTS.map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_kill_between_any_two_statements_costs_and_repeats_nothing() {
    let points = points();
    assert!(points.len() > 15, "{points:?}");
    for point in points {
        for nth in [1, 2, 7, 19, 40] {
            let directory = tempfile::tempdir().unwrap();
            let crash = Crash::run("spool::crash::victim", &point, nth, directory.path());
            assert!(crash.killed || nth > 1, "nothing passes {point}: {crash:?}");
            if crash.killed {
                live(directory.path()).await;
            }
            check(directory.path(), &format!("{point}:{nth}"));
            if !crash.killed {
                break;
            }
        }
    }
}
