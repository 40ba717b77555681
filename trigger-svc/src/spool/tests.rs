//! The promises of the spool, on a real database.

use std::time::Duration;

use wavs_ipc::Json;
use wavs_ipc::contract::trigger_feed::SpoolBody;
use wavs_types::{ServiceId, Trigger, TriggerConfig, TriggerData, WorkflowId};

use super::*;
use wavs_ipc::contract::trigger_admin::MAX_INJECTED;

const QUOTA: Quota = Quota {
    entries: 1_000,
    bytes: 1_000_000,
};
const NOW: Duration = Duration::ZERO;

pub(super) fn chain() -> ChainKey {
    "evm:31337".parse().unwrap()
}

pub(super) fn route(workflow: &str) -> (ServiceId, WorkflowId) {
    (ServiceId::new([7; 32]), workflow.parse().unwrap())
}

pub(super) fn seen(source_key: &str, height: u64, workflows: &[&str]) -> Occurrence {
    let entries = workflows
        .iter()
        .map(|workflow| Entry {
            route: Some(route(workflow)),
            body: SpoolBody::Orphaned {
                source_key: format!("{source_key} for {workflow}"),
            },
            fired: None,
        })
        .collect();
    Occurrence::Seen {
        source_key: source_key.to_owned(),
        height,
        entries,
    }
}

fn texts(batch: &SpoolBatch) -> Vec<&str> {
    let text = |item: &SpoolItem| match &item.body {
        SpoolBody::Orphaned { source_key } => source_key.clone().leak() as &str,
        _ => panic!("unexpected {item:?}"),
    };
    batch.items.iter().map(text).collect()
}

pub(super) async fn pull(spool: &Spool, after: u64) -> SpoolBatch {
    spool
        .pull(
            SpoolCursor {
                spool: spool.id,
                seq: after,
            },
            100,
            NOW,
        )
        .await
        .unwrap()
}

/// A fresh spool.
pub(super) async fn spool() -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path().join("spool.db"), QUOTA).await.unwrap();
    (dir, spool)
}

pub(super) fn progress(height: u64, window: u64) -> Option<Progress> {
    Some(Progress {
        position: Position {
            height,
            scanned: height,
        },
        generation: 1,
        blocks: Vec::new(),
        window,
    })
}

#[tokio::test]
async fn an_occurrence_is_recorded_once_per_route_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let spool = Spool::open(&path, QUOTA).await.unwrap();
    for _ in 0..2 {
        spool
            .record(&chain(), vec![seen("a", 5, &["one", "two"])], progress(5, 256))
            .await
            .unwrap();
    }
    assert_eq!(texts(&pull(&spool, 0).await), ["a for one", "a for two"]);
    drop(spool);

    let spool = Spool::open(&path, QUOTA).await.unwrap();
    let position = Position { height: 5, scanned: 5 };
    assert_eq!(spool.position(&chain()).await.unwrap(), Some(position));
    spool
        .record(&chain(), vec![seen("a", 5, &["one", "two", "three"])], None)
        .await
        .unwrap();
    assert_eq!(texts(&pull(&spool, 0).await), ["a for one", "a for two", "a for three"]);
}

#[tokio::test]
async fn entries_are_served_until_they_are_acknowledged_and_numbers_are_never_reused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let spool = Spool::open(&path, QUOTA).await.unwrap();
    spool
        .record(&chain(), vec![seen("a", 1, &["one"]), seen("b", 2, &["one"])], None)
        .await
        .unwrap();
    spool
        .ack(SpoolCursor {
            spool: spool.id,
            seq: 1,
        })
        .await
        .unwrap();
    assert_eq!(texts(&pull(&spool, 0).await), ["b for one"]);
    spool
        .ack(SpoolCursor {
            spool: spool.id,
            seq: 2,
        })
        .await
        .unwrap();
    drop(spool);

    let spool = Spool::open(&path, QUOTA).await.unwrap();
    spool
        .record(&chain(), vec![seen("c", 3, &["one"])], None)
        .await
        .unwrap();
    assert_eq!(pull(&spool, 2).await.items[0].seq, 3);
}

#[tokio::test]
async fn a_cursor_into_another_spool_starts_at_the_oldest_and_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path().join("spool.db"), QUOTA).await.unwrap();
    spool
        .record(&chain(), vec![seen("a", 1, &["one"])], None)
        .await
        .unwrap();
    let foreign = SpoolCursor {
        spool: spool.id ^ 1,
        seq: 500,
    };
    spool.ack(foreign).await.unwrap();
    assert_eq!(spool.pull(foreign, 10, NOW).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_waiting_pull_wakes_when_something_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path().join("spool.db"), QUOTA).await.unwrap();
    let waiting = tokio::spawn({
        let spool = spool.clone();
        async move { spool.pull(SpoolCursor::default(), 10, Duration::from_secs(60)).await }
    });
    spool
        .record(&chain(), vec![seen("a", 1, &["one"])], None)
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_removed_occurrence_leaves_a_notice_and_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path().join("spool.db"), QUOTA).await.unwrap();
    let removed = || {
        vec![Occurrence::Removed {
            source_key: "a".to_owned(),
        }]
    };
    spool.record(&chain(), removed(), None).await.unwrap();
    assert!(
        pull(&spool, 0).await.items.is_empty(),
        "nothing was recorded, so nothing is orphaned"
    );
    spool
        .record(&chain(), vec![seen("a", 1, &["one"])], None)
        .await
        .unwrap();
    spool.record(&chain(), removed(), None).await.unwrap();
    spool
        .record(&chain(), vec![seen("a", 1, &["one"])], None)
        .await
        .unwrap();
    assert_eq!(texts(&pull(&spool, 0).await), ["a for one", "a", "a for one"]);
}

#[tokio::test]
async fn injected_copies_are_kept_apart_and_a_repeat_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path().join("spool.db"), QUOTA).await.unwrap();
    let (service_id, workflow_id) = route("one");
    let config = TriggerConfig {
        service_id,
        workflow_id,
        trigger: Trigger::Manual,
    };
    let data = |byte| Json::encode(&TriggerData::Raw(vec![byte])).unwrap();
    let request = |count| Inject {
        id: 9,
        config: Json::encode(&config).unwrap(),
        data: vec![data(1), data(2)],
        count,
    };
    spool.inject(request(3)).await.unwrap();
    spool.inject(request(3)).await.unwrap();
    let batch = pull(&spool, 0).await;
    let keys: std::collections::BTreeSet<_> = batch
        .items
        .iter()
        .map(|item| match &item.body {
            SpoolBody::Trigger {
                source_key,
                injection: Some(9),
                ..
            } => source_key.clone(),
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!((batch.items.len(), keys.len()), (6, 6));
    for count in [0, MAX_INJECTED / 2 + 1] {
        assert_eq!(spool.inject(request(count)).await.unwrap_err().code, ErrorCode::Invalid);
    }
}

#[tokio::test]
async fn source_keys_are_forgotten_when_no_reorganisation_can_bring_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path().join("spool.db"), QUOTA).await.unwrap();
    spool
        .record(
            &chain(),
            vec![seen("old", 1, &["one"]), seen("new", 9, &["one"])],
            progress(9, 4),
        )
        .await
        .unwrap();
    let left: Vec<String> = spool
        .database
        .reader()
        .read(|connection| {
            let mut statement = connection.prepare("SELECT source_key FROM seen")?;
            let keys = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok::<_, SpoolError>(keys)
        })
        .await
        .unwrap();
    assert_eq!(left, ["new"]);
}

fn beginning(head: Option<u64>, unused: bool) -> Beginning {
    Beginning {
        chain: chain(),
        head,
        unused,
    }
}

fn of_generation(generation: u64) -> Watch {
    Watch {
        generation,
        ..Watch::default()
    }
}

#[tokio::test]
async fn a_new_route_moves_its_chain_back_and_what_was_looked_at_without_it_does_not_count() {
    let (_dir, spool) = spool().await;
    spool
        .store_watch(&of_generation(1), vec![beginning(Some(100), true)])
        .await
        .unwrap();
    spool.record(&chain(), vec![], progress(110, 256)).await.unwrap();
    let position = async || spool.position(&chain()).await.unwrap().unwrap().height;
    assert_eq!(position().await, 110);

    // Registered at 105, while the source was already further.
    spool
        .store_watch(&of_generation(2), vec![beginning(Some(105), false)])
        .await
        .unwrap();
    assert_eq!(position().await, 105);
    spool
        .record(&chain(), vec![seen("late", 112, &["one"])], progress(112, 256))
        .await
        .unwrap();
    assert_eq!(
        position().await,
        105,
        "these blocks must be looked at for the new route too"
    );
    assert_eq!(texts(&pull(&spool, 0).await), ["late for one"]);
    let mut newer = progress(112, 256).unwrap();
    newer.generation = 2;
    spool.record(&chain(), vec![], Some(newer)).await.unwrap();
    assert_eq!(position().await, 112);

    // A chain out of reach keeps its position, but not for views without the route.
    spool
        .store_watch(&of_generation(3), vec![beginning(None, false)])
        .await
        .unwrap();
    let mut older = progress(120, 256).unwrap();
    older.generation = 2;
    spool.record(&chain(), vec![], Some(older)).await.unwrap();
    assert_eq!(position().await, 112);

    // Nothing was wanted for a while: what is older than the registration is of no interest.
    spool
        .store_watch(&of_generation(4), vec![beginning(Some(9_000), true)])
        .await
        .unwrap();
    assert_eq!(position().await, 9_000);
}

#[tokio::test]
async fn a_rewound_chain_reports_what_left_it_and_forgets_the_blocks_above() {
    let (_dir, spool) = spool().await;
    let mut far = progress(9, 256).unwrap();
    far.blocks = [7, 8, 9]
        .map(|height| (height, wavs_types::B256::repeat_byte(height.try_into().unwrap())))
        .to_vec();
    let occurrences = vec![seen("stays", 7, &["one"]), seen("goes", 9, &["one"])];
    spool.record(&chain(), occurrences, Some(far)).await.unwrap();
    spool
        .rewind(&chain(), 8, vec!["goes".to_owned(), "never recorded".to_owned()])
        .await
        .unwrap();
    assert_eq!(texts(&pull(&spool, 0).await), ["stays for one", "goes for one", "goes"]);
    let heights: Vec<_> = spool
        .blocks(&chain())
        .await
        .unwrap()
        .into_iter()
        .map(|(height, _)| height)
        .collect();
    assert_eq!(heights, [8, 7]);
    let position = spool.position(&chain()).await.unwrap().unwrap();
    assert_eq!((position.height, position.scanned), (8, 8));
}

#[tokio::test]
async fn what_is_read_twice_is_counted_once() {
    let (_dir, spool) = spool().await;
    let count = wavs_service::metrics::Counter::default();
    for _ in 0..2 {
        let mut occurrence = seen("a", 1, &["one", "two"]);
        if let Occurrence::Seen { entries, .. } = &mut occurrence {
            for entry in entries {
                entry.fired = Some(count.clone());
            }
        }
        spool
            .record(&chain(), vec![occurrence], progress(1, 256))
            .await
            .unwrap();
    }
    assert_eq!(count.get(), 2);
}
