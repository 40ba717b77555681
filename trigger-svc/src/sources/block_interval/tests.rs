//! The promises of block intervals, on a real spool.

use std::time::Duration;

use wavs_ipc::contract::trigger_feed::{SpoolBody, SpoolCursor};

use super::*;
use crate::spool::Quota;
use crate::watch::Watch;

const OPTIONS: IntervalOptions = IntervalOptions {
    fire_after_end: true,
    catch_up: CatchUp::All,
};

fn chain() -> ChainKey {
    "evm:31337".parse().unwrap()
}

fn route(workflow: &str, n_blocks: u32, since: Option<u64>) -> Route {
    Route {
        service_id: ServiceId::new([7; 32]),
        workflow_id: format!("route-{workflow}").parse().unwrap(),
        trigger: Trigger::BlockInterval {
            chain: chain(),
            n_blocks: n_blocks.try_into().unwrap(),
            start_block: None,
            end_block: None,
        },
        active: true,
        since,
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    spool: Spool,
    metrics: Metrics,
    taken: SpoolCursor,
}

impl Fixture {
    async fn new(routes: &[Route]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let quota = Quota {
            entries: 1_000,
            bytes: 1_000_000,
        };
        let fixture = Self {
            spool: Spool::open(dir.path().join("spool.db"), quota).await.unwrap(),
            _dir: dir,
            metrics: Metrics::new(&wavs_service::Metrics::new()),
            taken: SpoolCursor::default(),
        };
        fixture.register(routes).await;
        fixture
    }

    async fn register(&self, routes: &[Route]) {
        let watch = Watch {
            routes: routes.to_vec(),
            ..Watch::default()
        };
        self.spool.store_watch(&watch, vec![]).await.unwrap();
    }

    /// A fresh connection, as after a restart.
    async fn connect(&self, routes: &[Route], options: IntervalOptions) -> BlockIntervals {
        let mut intervals = BlockIntervals::new(&chain(), options);
        intervals.load(routes, None, &self.spool).await.unwrap();
        intervals
    }

    /// What fires at a head, as `height workflow`.
    async fn reach(&mut self, intervals: &mut BlockIntervals, head: u64) -> Vec<String> {
        intervals.reach(head, &self.spool, &self.metrics).await.unwrap();
        let batch = self.spool.pull(self.taken, 100, Duration::ZERO).await.unwrap();
        if let Some(last) = batch.items.last() {
            self.taken = SpoolCursor {
                spool: batch.spool,
                seq: last.seq,
            };
        }
        let text = |body: &SpoolBody| {
            let SpoolBody::Trigger { source_key, action, .. } = body else {
                panic!("{body:?}")
            };
            let action = action.decode().unwrap();
            let TriggerData::BlockInterval { block_height, .. } = action.data else {
                panic!("{action:?}")
            };
            assert_eq!(*source_key, format!("{}/block/{block_height}", chain()));
            format!(
                "{block_height} {}",
                action.config.workflow_id.as_str().replace("route-", "")
            )
        };
        batch.items.iter().map(|item| text(&item.body)).collect()
    }
}

#[tokio::test]
async fn the_first_height_after_the_registration_is_the_anchor_and_stays_it() {
    let routes = [route("a", 10, Some(6))];
    let mut fixture = Fixture::new(&routes).await;
    let mut intervals = fixture.connect(&routes, OPTIONS).await;
    assert_eq!(fixture.reach(&mut intervals, 6).await, [""; 0]);
    assert_eq!(fixture.reach(&mut intervals, 9).await, ["7 a"]);
    assert_eq!(fixture.reach(&mut intervals, 12).await, [""; 0]);

    // After a restart, and after an update that adds a workflow, the phase is the same.
    let updated = [route("a", 10, Some(6)), route("b", 5, Some(20))];
    fixture.register(&updated).await;
    let mut intervals = fixture.connect(&updated, OPTIONS).await;
    assert_eq!(
        fixture.reach(&mut intervals, 37).await,
        ["17 a", "21 b", "26 b", "27 a", "31 b", "36 b", "37 a"]
    );

    // Another interval is another clock.
    let changed = [route("a", 4, Some(38))];
    fixture.register(&changed).await;
    let mut intervals = fixture.connect(&changed, OPTIONS).await;
    assert_eq!(fixture.reach(&mut intervals, 43).await, ["39 a", "43 a"]);
    let status = &intervals.status()[0];
    assert_eq!((status.anchor, status.next), (Some(39), Some(47)));
}

#[tokio::test]
async fn a_route_without_known_registration_begins_at_the_first_head_that_comes() {
    let routes = [route("a", 10, None)];
    let mut fixture = Fixture::new(&routes).await;
    let mut intervals = BlockIntervals::new(&chain(), OPTIONS);
    intervals.load(&routes, Some(50), &fixture.spool).await.unwrap();
    assert_eq!(fixture.reach(&mut intervals, 50).await, [""; 0]);
    assert_eq!(fixture.reach(&mut intervals, 51).await, ["51 a"]);
    assert_eq!(fixture.reach(&mut intervals, 0).await, [""; 0]);
}

#[tokio::test]
async fn only_the_first_head_of_a_connection_makes_up_for_missed_ones() {
    let routes = [route("a", 2, Some(9))];
    let mut fixture = Fixture::new(&routes).await;
    let skip = IntervalOptions {
        catch_up: CatchUp::Skip,
        ..OPTIONS
    };
    let mut intervals = fixture.connect(&routes, skip).await;
    assert_eq!(fixture.reach(&mut intervals, 15).await, [""; 0]);
    assert_eq!(fixture.reach(&mut intervals, 20).await, ["16 a", "18 a", "20 a"]);
    let last = IntervalOptions {
        catch_up: CatchUp::Last,
        ..OPTIONS
    };
    let mut intervals = fixture.connect(&routes, last).await;
    assert_eq!(fixture.reach(&mut intervals, 31).await, ["30 a"]);
}

#[tokio::test]
async fn paused_and_removed_routes_bring_nothing() {
    let mut routes = [route("a", 5, Some(9))];
    routes[0].active = false;
    let mut fixture = Fixture::new(&routes).await;
    let mut intervals = fixture.connect(&routes, OPTIONS).await;
    assert_eq!(fixture.reach(&mut intervals, 17).await, [""; 0]);
    routes[0].active = true;
    intervals.load(&routes, Some(17), &fixture.spool).await.unwrap();
    assert_eq!(fixture.reach(&mut intervals, 20).await, ["20 a"]);

    // A connection that still runs when the route goes leaves no state behind.
    fixture.register(&[]).await;
    fixture.reach(&mut intervals, 25).await;
    assert_eq!(fixture.spool.marks(&routes).await.unwrap(), [None]);
}
