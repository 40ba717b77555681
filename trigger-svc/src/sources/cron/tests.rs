//! The promises of schedules, with clocks under control.

use std::sync::atomic::{AtomicI64, Ordering};

use wavs_ipc::contract::trigger_feed::{SpoolBody, SpoolCursor};
use wavs_service::config::MisfirePolicy;
use wavs_types::{ServiceId, Trigger, TriggerData};

use super::*;
use crate::clock;
use crate::spool::{Entry, Mark, Occurrence, Quota};
use crate::watch::Watch;

const SECOND: u64 = 1_000_000_000;
/// A whole hour.
const BASE: u64 = 1_704_067_200 * SECOND;
const ALL: Misfire = Misfire {
    policy: MisfirePolicy::FireAll,
    window: Duration::from_secs(60),
};

fn route(workflow: &str, schedule: &str) -> Route {
    Route {
        service_id: ServiceId::new([7; 32]),
        workflow_id: format!("route-{workflow}").parse().unwrap(),
        trigger: Trigger::Cron {
            schedule: schedule.to_owned(),
            start_time: None,
            end_time: None,
        },
        active: true,
        since: None,
    }
}

fn metrics() -> Metrics {
    Metrics::new(&wavs_service::Metrics::new())
}

fn registered(ns: u64) -> Option<Mark> {
    Some(Mark {
        registered_ns: ns,
        ..Mark::default()
    })
}

/// The slots (seconds after the base) and workflows of a release.
fn hits(release: Option<Release>) -> Vec<(u64, String)> {
    let entry = |occurrence: Occurrence| {
        let Occurrence::Seen { height, entries, .. } = occurrence else {
            panic!("{occurrence:?}")
        };
        let workflow = |entry: Entry| entry.route.unwrap().1.as_str().replace("route-", "");
        let second = height - seconds(BASE);
        entries
            .into_iter()
            .map(move |entry| (second, workflow(entry)))
            .collect::<Vec<_>>()
    };
    release
        .into_iter()
        .flat_map(|release| release.occurrences)
        .flat_map(entry)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn slots_are_released_when_the_clock_reaches_them() {
    let started = tokio::time::Instant::now();
    let clock = WallClock::reading(move || BASE + u64::try_from(started.elapsed().as_nanos()).unwrap());
    let routes = [route("five", "*/5 * * * * *"), route("ten", "*/10 * * * * *")];
    let mut board = Board::new(&routes, &[registered(BASE), registered(BASE)], BASE);
    let mut released = Vec::new();
    while clock.now_ns() < BASE + 20 * SECOND {
        clock.wait_until(board.next()).await;
        let now = seconds(clock.now_ns() - BASE);
        released.extend(
            hits(board.release(clock.now_ns(), ALL, &metrics()))
                .into_iter()
                .map(|hit| (now, hit)),
        );
    }
    let expected = [
        (5, "five"),
        (10, "five"),
        (10, "ten"),
        (15, "five"),
        (20, "five"),
        (20, "ten"),
    ];
    let expected: Vec<_> = expected
        .map(|(slot, workflow)| (slot, (slot, workflow.to_owned())))
        .into();
    assert_eq!(released, expected);
}

#[test]
fn missed_slots_come_in_order_over_all_routes_and_a_step_back_repeats_none() {
    let routes = [route("a", "*/10 * * * * *"), route("b", "*/5 * * * * *")];
    let mut board = Board::new(&routes, &[registered(BASE), registered(BASE)], BASE);
    let named = |hits: Vec<(u64, String)>| {
        hits.into_iter()
            .map(|(slot, name)| format!("{slot}{name}"))
            .collect::<Vec<_>>()
    };
    let at = |second: u64| BASE + second * SECOND;
    assert_eq!(
        named(hits(board.release(at(23), ALL, &metrics()))),
        ["5b", "10a", "10b", "15b", "20a", "20b"]
    );
    assert!(board.release(at(0), ALL, &metrics()).is_none());
    assert_eq!(board.next(), Some(at(25)));
    assert!(board.release(at(24), ALL, &metrics()).is_none());
    assert_eq!(named(hits(board.release(at(25), ALL, &metrics()))), ["25b"]);
}

#[test]
fn a_paused_route_drops_its_hits_and_its_schedule_goes_on() {
    let mut paused = route("a", "*/5 * * * * *");
    paused.active = false;
    let mut board = Board::new(&[paused], &[registered(BASE)], BASE);
    let release = board.release(BASE + 7 * SECOND, ALL, &metrics()).unwrap();
    assert_eq!((release.occurrences.len(), release.advances.len()), (0, 1));
    assert_eq!(board.next(), Some(BASE + 10 * SECOND));
}

struct Fixture {
    _dir: tempfile::TempDir,
    spool: Spool,
    /// What the clock shows ahead of the system's, in seconds.
    ahead: Arc<AtomicI64>,
    watch: Watch,
    taken: SpoolCursor,
}

impl Fixture {
    async fn new(routes: Vec<Route>) -> Self {
        Self::with_room(routes, 1_000).await
    }

    async fn with_room(routes: Vec<Route>, entries: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let quota = Quota {
            entries,
            bytes: 1_000_000,
        };
        let spool = Spool::open(dir.path().join("spool.db"), quota).await.unwrap();
        let watch = Watch {
            routes,
            ..Watch::default()
        };
        spool.store_watch(&watch, vec![]).await.unwrap();
        Self {
            _dir: dir,
            spool,
            ahead: Arc::default(),
            watch,
            taken: SpoolCursor::default(),
        }
    }

    /// A task that watches the clock, as after a start of the process.
    fn start(&self, ahead: i64) -> (watch::Sender<Vec<Route>>, SharedBoard) {
        self.ahead.store(ahead, Ordering::Relaxed);
        let shown = Arc::clone(&self.ahead);
        let (routes, receiver) = watch::channel(self.watch.schedules());
        let state = SharedBoard::default();
        let source = CronSource {
            routes: receiver,
            spool: self.spool.clone(),
            clock: WallClock::reading(move || {
                clock::now_ns().saturating_add_signed(shown.load(Ordering::Relaxed) * 1_000_000_000)
            }),
            misfire: ALL,
            metrics: metrics(),
            state: state.clone(),
        };
        tokio::spawn(source.run());
        (routes, state)
    }

    /// The slots of the next batch.
    async fn pull(&mut self, wait: Duration) -> Vec<u64> {
        let batch = self.spool.pull(self.taken, 100, wait).await.unwrap();
        if let Some(last) = batch.items.last() {
            self.taken = SpoolCursor {
                spool: batch.spool,
                seq: last.seq,
            };
        }
        let slot = |body: &SpoolBody| match body {
            SpoolBody::Trigger { action, .. } => match action.decode().unwrap().data {
                TriggerData::Cron { trigger_time } => trigger_time,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        batch.items.iter().map(|item| slot(&item.body)).collect()
    }
}

#[tokio::test]
async fn a_restart_goes_on_after_the_last_released_slot() {
    let before = clock::now_ns();
    // Twenty seconds apart, so that the test itself does not reach a slot.
    let mut fixture = Fixture::new(vec![route("a", "*/20 * * * * *")]).await;
    let limit = Duration::from_secs(20);

    let running = fixture.start(60);
    let first = fixture.pull(limit).await;
    assert_eq!(first.len(), 3, "{first:?}");
    assert!(first[0] > before && first[0].is_multiple_of(20 * SECOND));
    drop(running);

    // An hour back: the task looks and finds nothing.
    let running = fixture.start(-3_600);
    let mut polls = tokio::time::interval(Duration::from_millis(5));
    while running.1.to_json()["routes"][0]["cursor"] != first[2] {
        polls.tick().await;
    }
    assert!(fixture.pull(Duration::ZERO).await.is_empty());
    drop(running);

    let _running = fixture.start(100);
    let second = fixture.pull(limit).await;
    assert_eq!(second, [first[2] + 20 * SECOND, first[2] + 40 * SECOND]);
}

#[tokio::test]
async fn a_new_definition_starts_anew_and_an_unchanged_one_keeps_its_position() {
    let mut fixture = Fixture::new(vec![route("a", "*/20 * * * * *"), route("b", "*/20 * * * * *")]).await;
    let running = fixture.start(60);
    let slots = fixture.pull(Duration::from_secs(20)).await;
    assert_eq!(slots.len(), 6);
    drop(running);
    fixture.watch.routes[1] = route("b", "*/30 * * * * *");
    fixture.spool.store_watch(&fixture.watch, vec![]).await.unwrap();
    let marks = fixture.spool.marks(&fixture.watch.routes).await.unwrap();
    assert_eq!(marks[0].unwrap().position, Some(slots[5]));
    assert_eq!(marks[1].unwrap().position, None);
    fixture.watch.routes.clear();
    let gone = route("a", "*/20 * * * * *");
    fixture.spool.store_watch(&fixture.watch, vec![]).await.unwrap();
    assert_eq!(fixture.spool.marks(&[gone]).await.unwrap(), [None]);
}

#[tokio::test]
async fn slots_that_become_due_while_the_spool_is_full_are_treated_like_those_of_an_absence() {
    let mut fixture = Fixture::with_room(vec![route("a", "*/20 * * * * *")], 1).await;
    let limit = Duration::from_secs(60);
    let (routes, _shown) = fixture.start(20);
    let first = fixture.pull(limit).await;
    assert_eq!(first.len(), 1);

    // One more is due and waits for room; meanwhile time passes.
    fixture.ahead.store(40, Ordering::Relaxed);
    routes.send_replace(fixture.watch.schedules());
    let mut polls = tokio::time::interval(Duration::from_millis(5));
    while fixture.spool.waiting_for_room() == 0 {
        polls.tick().await;
    }
    fixture.ahead.store(1_040, Ordering::Relaxed);
    fixture.spool.ack(fixture.taken).await.unwrap();
    let waited = fixture.pull(limit).await;
    assert_eq!(waited, [first[0] + 20 * SECOND], "what waited is not lost");
    fixture.spool.ack(fixture.taken).await.unwrap();
    let late = fixture.pull(limit).await;
    assert!(
        late[0] >= clock::now_ns() + (1_040 - 60 - 20) * SECOND,
        "{late:?}: older than the window allows"
    );
    assert_eq!(late.len(), 3, "{late:?}");
}
