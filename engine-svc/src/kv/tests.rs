//! The store of guests, with both ways of writing.

use wavs_ipc::contract::job::RunId;

use super::ops::MAX_BATCH;
use super::*;
use futures::future::try_join_all;

#[tokio::test]
async fn concurrent_increments_add_up_and_data_survives_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.db");
    let service = ServiceId::new([1; 32]);
    {
        let kv = Kv::open(&path, 1 << 20).unwrap();
        try_join_all((0..50).map(|_| {
            let kv = kv.service(&service);
            async move { kv.increment("b", "n".into(), 2).await }
        }))
        .await
        .unwrap();
        kv.service(&service)
            .set_many("b", vec![("k".into(), b"v".to_vec())])
            .await
            .unwrap();
    }
    let kv = Kv::open(&path, 1 << 20).unwrap().service(&service);
    assert_eq!(kv.increment("b", "n".into(), 0).await.unwrap(), 100);
    assert_eq!(kv.get("b", "k".into()).await.unwrap().unwrap(), b"v");
    let other = Kv::open(&directory.path().join("other.db"), 1 << 20)
        .unwrap()
        .service(&service);
    assert_eq!(other.get("b", "k".into()).await.unwrap(), None);
}

#[tokio::test]
async fn erasing_a_service_leaves_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let kv = Kv::open(&directory.path().join("kv.db"), 1 << 20).unwrap();
    let [one, two] = [1, 2].map(|byte| kv.service(&ServiceId::new([byte; 32])));
    for service in [&one, &two] {
        service.set_many("b", vec![("k".into(), b"v".to_vec())]).await.unwrap();
        service.increment("b", "n".into(), 5).await.unwrap();
    }
    one.erase().await.unwrap();
    assert_eq!(one.get("b", "k".into()).await.unwrap(), None);
    assert_eq!(one.increment("b", "n".into(), 0).await.unwrap(), 0);
    assert_eq!(two.get("b", "k".into()).await.unwrap().unwrap(), b"v");
    assert_eq!(two.increment("b", "n".into(), 0).await.unwrap(), 5);
}

#[tokio::test]
async fn many_writes_are_all_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let kv = Kv::open(&directory.path().join("kv.db"), 1 << 20)
        .unwrap()
        .service(&ServiceId::new([1; 32]));
    let too_long = "k".repeat(2000);
    let failed = kv
        .set_many("b", vec![("good".into(), vec![1]), (too_long, vec![2])])
        .await;
    assert!(failed.unwrap_err().is_guest());
    assert_eq!(kv.list("b", None).await.unwrap().keys, Vec::<String>::new());
    kv.set_many("b", vec![("a".into(), vec![1]), ("b".into(), vec![2])])
        .await
        .unwrap();
    let found = kv
        .get_many("b", vec!["b".into(), "x".into(), "a".into()])
        .await
        .unwrap();
    assert_eq!(found, [Some(("b".into(), vec![2])), None, Some(("a".into(), vec![1]))]);
    kv.delete_many("b", vec!["a".into(), "x".into()]).await.unwrap();
    assert_eq!(kv.list("b", None).await.unwrap().keys, ["b"]);
}

fn run(kv: &Kv, job: u128, attempt: u32) -> GuestKv {
    let mark = Mark {
        run: RunId { job, attempt },
        call: [0; 32],
    };
    GuestKv::transactional(kv.service(&ServiceId::new([1; 32])), mark)
}

fn open() -> (tempfile::TempDir, Kv) {
    let directory = tempfile::tempdir().unwrap();
    let kv = Kv::open(&directory.path().join("kv.db"), 1 << 20).unwrap();
    (directory, kv)
}

fn value(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[tokio::test]
async fn a_run_sees_its_own_writes_and_others_see_them_after_its_commit() {
    let (_directory, kv) = open();
    let stored = kv.service(&ServiceId::new([1; 32]));
    let old = ["a", "b", "c"].map(|key| (key.to_owned(), value("old")));
    stored.set_many("x", old.to_vec()).await.unwrap();
    let mut run = run(&kv, 1, 1);
    run.set_many("x", vec![("b".into(), value("new")), ("d".into(), value("new"))])
        .await
        .unwrap();
    run.delete_many("x", vec!["a".into(), "missing".into()]).await.unwrap();
    assert_eq!(run.increment("x", "n".into(), 5).await.unwrap(), 5);
    assert_eq!(run.increment("x", "n".into(), -2).await.unwrap(), 3);
    assert_eq!(run.get("x", "b".into()).await.unwrap(), Some(value("new")));
    assert_eq!(run.get("x", "a".into()).await.unwrap(), None);
    assert_eq!(run.list("x", None).await.unwrap().keys, ["b", "c", "d"]);
    assert_eq!(run.list("x", Some("c".into())).await.unwrap().keys, ["c", "d"]);
    let many = run
        .get_many("x", vec!["c".into(), "a".into(), "d".into()])
        .await
        .unwrap();
    assert_eq!(
        many,
        [Some(("c".into(), value("old"))), None, Some(("d".into(), value("new")))]
    );

    assert_eq!(stored.list("x", None).await.unwrap().keys, ["a", "b", "c"]);
    assert_eq!(stored.increment("x", "n".into(), 0).await.unwrap(), 0);
    run.commit(Vec::new()).await.unwrap();
    assert_eq!(stored.list("x", None).await.unwrap().keys, ["b", "c", "d"]);
    assert_eq!(stored.get("x", "b".into()).await.unwrap(), Some(value("new")));
    assert_eq!(stored.increment("x", "n".into(), 0).await.unwrap(), 3);
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_nothing() {
    let (_directory, kv) = open();
    let mut run = run(&kv, 1, 1);
    run.set_many("x", vec![("k".into(), value("v"))]).await.unwrap();
    run.increment("x", "n".into(), 1).await.unwrap();
    drop(run);
    let stored = kv.service(&ServiceId::new([1; 32]));
    assert_eq!(stored.get("x", "k".into()).await.unwrap(), None);
    assert_eq!(stored.increment("x", "n".into(), 0).await.unwrap(), 0);
}

#[tokio::test]
async fn of_two_runs_over_the_same_data_the_second_is_to_be_repeated() {
    let (_directory, kv) = open();
    let stored = kv.service(&ServiceId::new([1; 32]));
    stored.set_many("x", vec![("k".into(), value("0"))]).await.unwrap();
    // What both depend on: a value, an absent key, a counter, a list.
    for depend in 0..4 {
        let (mut first, mut second) = (run(&kv, 1, 1), run(&kv, 2, 1));
        for run in [&mut first, &mut second] {
            match depend {
                0 => drop(run.get("x", "k".into()).await.unwrap()),
                1 => drop(run.version("x", format!("new {depend}")).await.unwrap()),
                2 => drop(run.increment("x", "n".into(), 1).await.unwrap()),
                _ => drop(run.list("x", None).await.unwrap()),
            }
            let entries = vec![("k".into(), value("1")), (format!("new {depend}"), value("1"))];
            run.set_many("x", entries).await.unwrap();
        }
        first.commit(Vec::new()).await.unwrap();
        let failed = second.commit(Vec::new()).await;
        assert!(matches!(failed, Err(KvError::Conflict { .. })), "{depend}: {failed:?}");
    }
    // Writes alone depend on nothing, and other keys are nobody's business.
    let (mut first, mut second) = (run(&kv, 3, 1), run(&kv, 4, 1));
    first.get("x", "k".into()).await.unwrap();
    first.set_many("x", vec![("mine".into(), value("1"))]).await.unwrap();
    second.set_many("x", vec![("yours".into(), value("1"))]).await.unwrap();
    second.commit(Vec::new()).await.unwrap();
    first.commit(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_swap_within_a_run_pins_its_own_writes_too() {
    let (_directory, kv) = open();
    let mut run = run(&kv, 1, 1);
    let absent = run.version("x", "k".into()).await.unwrap();
    assert_eq!(run.swap("x", "k".into(), absent, value("1")).await.unwrap(), Ok(()));
    let stale = run.swap("x", "k".into(), absent, value("2")).await.unwrap();
    let fresh = stale.unwrap_err();
    assert!(fresh.is_some());
    assert_eq!(run.swap("x", "k".into(), fresh, value("3")).await.unwrap(), Ok(()));
    run.commit(Vec::new()).await.unwrap();
    let stored = kv.service(&ServiceId::new([1; 32]));
    assert_eq!(stored.get("x", "k".into()).await.unwrap(), Some(value("3")));
}

#[tokio::test]
async fn a_repeat_of_a_committed_run_finds_its_result() {
    let (_directory, kv) = open();
    let mut first = run(&kv, 1, 1);
    assert_eq!(first.finished().await.unwrap(), None);
    first.increment("x", "n".into(), 1).await.unwrap();
    first.commit(value("result")).await.unwrap();
    assert_eq!(run(&kv, 1, 2).finished().await.unwrap(), Some(value("result")));
    assert_eq!(run(&kv, 2, 2).finished().await.unwrap(), None);
}

#[tokio::test]
async fn limits_hold_within_a_run_and_at_its_end() {
    let (_directory, kv) = open();
    let mut run = self::run(&kv, 1, 1);
    let long = "k".repeat(2_000);
    let refused = run
        .set_many("x", vec![("k".into(), value("v")), (long, value("v"))])
        .await;
    assert!(refused.unwrap_err().is_guest());
    assert_eq!(run.get("x", "k".into()).await.unwrap(), None);
    run.set_many("x", vec![("large".into(), vec![0; 2 << 20])])
        .await
        .unwrap();
    assert!(matches!(run.commit(Vec::new()).await, Err(KvError::Quota { .. })));
    let mut run = self::run(&kv, 2, 1);
    let mut refused = None;
    for n in 0..20 {
        refused = run.set_many("x", vec![(n.to_string(), vec![0; 4 << 20])]).await.err();
    }
    assert!(matches!(refused, Some(KvError::Transaction { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_call_with_too_many_keys_is_refused_as_a_whole() {
    let (_directory, kv) = open();
    let stored = kv.service(&ServiceId::new([1; 32]));
    for mut run in [GuestKv::Immediate(stored), run(&kv, 1, 1)] {
        let keys = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        let entries = |count| keys(count).into_iter().map(|key| (key, value("v"))).collect();
        run.set_many("x", entries(MAX_BATCH)).await.unwrap();
        let refused = [
            run.set_many("y", entries(MAX_BATCH + 1)).await,
            run.delete_many("x", keys(MAX_BATCH + 1)).await,
            run.get_many("x", keys(MAX_BATCH + 1)).await.map(drop),
        ];
        for refused in refused.map(Result::unwrap_err) {
            assert!(
                matches!(refused, KvError::Batch { .. }) && refused.is_guest(),
                "{refused}"
            );
        }
        assert_eq!(run.list("y", None).await.unwrap().keys, [""; 0]);
        let found = run.get_many("x", keys(MAX_BATCH)).await.unwrap();
        assert!(found.iter().all(Option::is_some));
        run.delete_many("x", keys(MAX_BATCH)).await.unwrap();
    }
}

#[tokio::test]
async fn a_reply_that_would_be_too_large_tells_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let kv = Kv::open(&directory.path().join("kv.db"), 1 << 30).unwrap();
    let stored = kv.service(&ServiceId::new([1; 32]));
    stored
        .set_many("x", vec![("k".into(), vec![0; 4 << 20])])
        .await
        .unwrap();
    for mut run in [GuestKv::Immediate(stored), run(&kv, 1, 1)] {
        let keys = |count| vec!["k".to_owned(); count];
        assert_eq!(run.get_many("x", keys(8)).await.unwrap().len(), 8);
        let refused = run.get_many("x", keys(9)).await.unwrap_err();
        assert!(refused.is_guest());
        assert!(
            refused.to_string().ends_with("ask for fewer keys at a time"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn lists_count_even_when_they_are_empty() {
    let (_directory, kv) = open();
    let mut run = run(&kv, 1, 1);
    // Most of the room is taken, so that few lists take the rest.
    for n in 0..7 {
        run.set_many("x", vec![(n.to_string(), vec![0; 4 << 20])])
            .await
            .unwrap();
    }
    let cursor = "c".repeat(MAX_KEY);
    let mut lists = 0;
    let refused = loop {
        match run.list("nothing here", Some(cursor.clone())).await {
            Ok(_) => lists += 1,
            Err(refused) => break refused,
        }
        assert!(lists < (4 << 20) / MAX_KEY, "lists without end");
    };
    assert!(matches!(refused, KvError::Transaction { .. }), "{refused}");
}

#[tokio::test]
async fn a_list_that_changes_during_the_run_is_a_conflict() {
    let (_directory, kv) = open();
    let mut run = run(&kv, 1, 1);
    run.list("x", None).await.unwrap();
    let stored = kv.service(&ServiceId::new([1; 32]));
    stored.set_many("x", vec![("k".into(), value("1"))]).await.unwrap();
    assert_eq!(run.list("x", None).await.unwrap().keys, ["k"]);
    let failed = run.commit(Vec::new()).await;
    assert!(matches!(failed, Err(KvError::Conflict { .. })), "{failed:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever a run does, it sees what a run with immediate writes sees, and leaves the same.
    #[test]
    fn both_ways_of_writing_are_alike_to_a_lone_run(steps in proptest::collection::vec((0..5_u8, 0..4_u8, 0..3_u8), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_directory, kv) = open();
            let mut at_once = GuestKv::Immediate(kv.service(&ServiceId::new([2; 32])));
            let mut at_the_end = run(&kv, 1, 1);
            for (step, key, n) in steps {
                let mut seen = Vec::new();
                for kv in [&mut at_once, &mut at_the_end] {
                    let key = key.to_string();
                    seen.push(match step {
                        0 => format!("{:?}", kv.set_many("x", vec![(key, vec![n])]).await.unwrap()),
                        1 => format!("{:?}", kv.delete_many("x", vec![key]).await.unwrap()),
                        2 => format!("{:?}", kv.get("x", key).await.unwrap()),
                        3 => format!("{:?}", kv.list("x", (n > 0).then_some(key)).await.unwrap()),
                        _ => format!("{:?}", kv.increment("x", key, i64::from(n)).await.unwrap()),
                    });
                }
                assert_eq!(seen[0], seen[1]);
            }
            at_the_end.commit(Vec::new()).await.unwrap();
            let (one, other) = (kv.service(&ServiceId::new([2; 32])), kv.service(&ServiceId::new([1; 32])));
            assert_eq!(one.list("x", None).await.unwrap(), other.list("x", None).await.unwrap());
        });
    }
}
