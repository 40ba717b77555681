//! The state machines of supervision under tables, sequences and random events, with a virtual clock.

use std::time::Duration;

use proptest::prelude::*;
use wavs_supervisor::supervise::child::{Action, Child, Event, Phase};
use wavs_supervisor::supervise::exit::{Cause, Exit};
use wavs_supervisor::supervise::group::Group;
use wavs_supervisor::supervise::policy::Policy;

const CRASH: Event = Event::Exited {
    exit: Exit::Signal(11),
    jitter: 1.0,
    out_of_memory: false,
};
const BLOCK: Event = Event::Exited {
    exit: Exit::Code(78),
    jitter: 1.0,
    out_of_memory: false,
};

const OUT_OF_MEMORY: Event = Event::Exited {
    exit: Exit::Signal(9),
    jitter: 1.0,
    out_of_memory: true,
};
const KILLED: Event = Event::Exited {
    exit: Exit::Signal(9),
    jitter: 0.0,
    out_of_memory: false,
};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Runs a child through events at given seconds and answers the actions and the phase after each.
fn run(events: &[(u64, Event)]) -> (Child, Vec<(Vec<Action>, Phase)>) {
    let mut child = Child::new(Policy::default());
    let steps = events
        .iter()
        .map(|(at, event)| (child.on(*event, seconds(*at)), child.phase()))
        .collect();
    (child, steps)
}

/// A name, events with their seconds, the actions after the last one, and the phase then.
type Row = (&'static str, &'static [(u64, Event)], &'static [Action], Phase);

#[test]
fn each_event_leads_where_the_table_says() {
    use Action::{Abort, Kill, Spawn, Terminate};
    use Event::{Ping, Ready, Reload, Restart, Start, Stop, Tick};
    let table: &[Row] = &[
        ("a start spawns", &[(0, Start)], &[Spawn], Phase::Starting),
        (
            "a second start changes nothing",
            &[(0, Start), (1, Start)],
            &[],
            Phase::Starting,
        ),
        ("ready runs", &[(0, Start), (1, Ready)], &[], Phase::Running),
        (
            "a tick before the deadline does nothing",
            &[(0, Start), (29, Tick)],
            &[],
            Phase::Starting,
        ),
        (
            "a slow start is killed",
            &[(0, Start), (30, Tick)],
            &[Kill],
            Phase::Killing,
        ),
        (
            "a ping feeds the watchdog",
            &[(0, Start), (1, Ready), (15, Ping), (25, Tick)],
            &[],
            Phase::Running,
        ),
        (
            "silence aborts",
            &[(0, Start), (1, Ready), (21, Tick)],
            &[Abort],
            Phase::Aborting,
        ),
        (
            "a deaf child is killed",
            &[(0, Start), (1, Ready), (21, Tick), (23, Tick)],
            &[Kill],
            Phase::Killing,
        ),
        (
            "a crash cleans the group",
            &[(0, Start), (1, Ready), (2, CRASH)],
            &[Kill],
            Phase::Backoff,
        ),
        (
            "a crash is restarted",
            &[(0, Start), (1, Ready), (2, CRASH), (3, Tick)],
            &[Spawn],
            Phase::Starting,
        ),
        ("exit 78 blocks", &[(0, Start), (1, BLOCK)], &[Kill], Phase::Blocked),
        (
            "blocked stays so",
            &[(0, Start), (1, BLOCK), (9999, Tick)],
            &[],
            Phase::Blocked,
        ),
        (
            "a reload tries again",
            &[(0, Start), (1, BLOCK), (9, Reload)],
            &[Spawn],
            Phase::Starting,
        ),
        (
            "a reload leaves a running child alone",
            &[(0, Start), (1, Ready), (2, Reload)],
            &[],
            Phase::Running,
        ),
        (
            "a restart drains",
            &[(0, Start), (1, Ready), (2, Restart { kill: false })],
            &[Terminate],
            Phase::Stopping,
        ),
        (
            "a restart may kill",
            &[(0, Start), (1, Ready), (2, Restart { kill: true })],
            &[Kill],
            Phase::Killing,
        ),
        (
            "a restart comes back without a wait",
            &[
                (0, Start),
                (1, Ready),
                (2, Restart { kill: false }),
                (3, CRASH),
                (3, Tick),
            ],
            &[Spawn],
            Phase::Starting,
        ),
        (
            "a restart tries again what is blocked",
            &[(0, Start), (1, BLOCK), (2, Restart { kill: false })],
            &[Spawn],
            Phase::Starting,
        ),
        (
            "a stop during a restart is a stop",
            &[
                (0, Start),
                (1, Ready),
                (2, Restart { kill: false }),
                (2, Stop),
                (3, CRASH),
                (9, Tick),
            ],
            &[],
            Phase::Stopped,
        ),
        (
            "nothing restarts what is not wanted",
            &[(0, Restart { kill: true })],
            &[],
            Phase::Stopped,
        ),
        (
            "a stop drains",
            &[(0, Start), (1, Ready), (2, Stop)],
            &[Terminate],
            Phase::Stopping,
        ),
        (
            "a long drain is killed",
            &[(0, Start), (1, Ready), (2, Stop), (17, Tick)],
            &[Kill],
            Phase::Killing,
        ),
        (
            "a stopped child stays down",
            &[(0, Start), (1, Ready), (2, Stop), (3, CRASH), (99, Tick)],
            &[],
            Phase::Stopped,
        ),
        (
            "a stop ends the wait",
            &[(0, Start), (1, CRASH), (1, Stop), (99, Tick)],
            &[],
            Phase::Stopped,
        ),
        (
            "a child that could not be spawned waits, with no group to clean",
            &[
                (0, Start),
                (
                    0,
                    Event::Exited {
                        exit: Exit::NotStarted,
                        jitter: 0.0,
                        out_of_memory: false,
                    },
                ),
            ],
            &[],
            Phase::Backoff,
        ),
    ];
    for (name, events, actions, phase) in table {
        let (_, steps) = run(events);
        assert_eq!(steps.last(), Some(&(actions.to_vec(), *phase)), "{name}");
    }
}

#[test]
fn the_cause_of_an_end_is_remembered() {
    let table: &[(&[(u64, Event)], Cause)] = &[
        (&[(0, Event::Start), (1, CRASH)], Cause::Crash),
        (&[(0, Event::Start), (1, BLOCK)], Cause::Blocked),
        (
            &[(0, Event::Start), (30, Event::Tick), (30, CRASH)],
            Cause::StartTimeout,
        ),
        (
            &[(0, Event::Start), (1, Event::Ready), (21, Event::Tick), (22, CRASH)],
            Cause::Watchdog,
        ),
        (
            &[(0, Event::Start), (1, Event::Ready), (2, Event::Stop), (3, CRASH)],
            Cause::Stop,
        ),
        (
            &[(0, Event::Start), (1, Event::Restart { kill: true }), (2, CRASH)],
            Cause::Restart,
        ),
        (&[(0, Event::Start), (1, OUT_OF_MEMORY)], Cause::MemoryLimit),
    ];
    for (events, cause) in table {
        let (child, _) = run(events);
        assert_eq!(child.last_exit().map(|(_, cause)| cause), Some(*cause), "{events:?}");
    }
}

/// Lets a child crash as soon as it is started, and answers its delays.
fn delays_of_a_crash_loop(child: &mut Child, crashes: usize, now: &mut Duration) -> Vec<Duration> {
    let mut delays = Vec::new();
    for _ in 0..crashes {
        child.on(CRASH, *now);
        let until = child.deadline().expect("a crashed child waits");
        delays.push(until - *now);
        *now = until;
        assert_eq!(child.on(Event::Tick, *now), [Action::Spawn]);
    }
    delays
}

#[test]
fn a_crash_loop_becomes_failing_and_a_stable_run_forgives_it() {
    let mut child = Child::new(Policy::default());
    let mut now = Duration::ZERO;
    child.on(Event::Start, now);
    let delays = delays_of_a_crash_loop(&mut child, 5, &mut now);
    assert_eq!(delays, [250, 500, 1000, 2000, 4000].map(Duration::from_millis));
    assert!(!child.failing());
    let delays = delays_of_a_crash_loop(&mut child, 8, &mut now);
    assert!(child.failing());
    assert_eq!(delays, [seconds(30); 8]);

    child.on(Event::Ready, now);
    now += seconds(60);
    child.on(CRASH, now);
    assert!(!child.failing());
    assert_eq!(child.deadline(), Some(now + Duration::from_millis(250)));
}

#[test]
fn a_stop_waits_for_each_child_in_turn() {
    let mut group = Group::new([Policy::default(); 3]);
    group.start(Duration::ZERO);
    group.all(Event::Ready, seconds(1));
    assert_eq!(group.stop(seconds(2)), [(0, Action::Terminate)]);
    assert_eq!(group.stop(seconds(2)), [], "a second stop is the same stop");
    let exit = Event::Exited {
        exit: Exit::Code(0),
        jitter: 0.0,
        out_of_memory: false,
    };
    assert_eq!(
        group.on(0, exit, seconds(3)),
        [(0, Action::Kill), (1, Action::Terminate)]
    );
    // The last one dies early: it must neither come back nor be waited for.
    assert_eq!(group.on(2, CRASH, seconds(3)), [(2, Action::Kill)]);
    assert!(!group.finished());
    assert_eq!(group.on(1, exit, seconds(4)), [(1, Action::Kill)]);
    assert!(group.finished());
}

fn any_event() -> impl Strategy<Value = Event> {
    let exit = prop_oneof![
        Just(Exit::Code(0)),
        Just(Exit::Code(1)),
        Just(Exit::Code(78)),
        Just(Exit::Signal(9)),
        Just(Exit::NotStarted)
    ];
    prop_oneof![
        Just(Event::Start),
        Just(Event::Ready),
        Just(Event::Ping),
        (exit, 0.0_f64..=1.0, any::<bool>()).prop_map(|(exit, jitter, out_of_memory)| Event::Exited {
            exit,
            jitter,
            out_of_memory
        }),
        Just(Event::Tick),
        Just(Event::Stop),
        Just(Event::Reload),
        any::<bool>().prop_map(|kill| Event::Restart { kill }),
    ]
}

proptest! {
    /// Whatever happens: never two processes at once, no process without a deadline to bring it to reason, no signal
    /// to a process that does not exist, and nothing is restarted that is not wanted.
    #[test]
    fn a_child_is_always_accounted_for(events in prop::collection::vec((any_event(), 0_u64..40_000), 0..200)) {
        let mut child = Child::new(Policy::default());
        let mut now = Duration::ZERO;
        let mut alive = false;
        let mut wanted = false;
        for (event, step) in events {
            now += Duration::from_millis(step);
            match event {
                Event::Start => wanted = true,
                Event::Stop => wanted = false,
                _ => {}
            }
            let ended = matches!(event, Event::Exited { .. });
            let was_alive = alive;
            for action in child.on(event, now) {
                match action {
                    Action::Spawn => {
                        prop_assert!(!alive, "spawned twice");
                        prop_assert!(wanted, "spawned although it is not wanted");
                        alive = true;
                    }
                    Action::Kill => prop_assert!(was_alive, "killed a group that does not exist"),
                    Action::Terminate | Action::Abort => prop_assert!(alive && !ended, "signalled nothing"),
                }
            }
            if ended {
                alive = false;
            }
            prop_assert_eq!(child.alive(), alive);
            if alive && child.phase() != Phase::Killing {
                prop_assert!(child.deadline().is_some(), "{:?} has no deadline", child.phase());
            }
        }
    }

    /// Whatever happened before: a wanted child that is not blocked runs again within its longest delay, restarts never come
    /// faster than the shortest delay unless somebody asked, and only what a person can change keeps it down.
    #[test]
    fn a_wanted_child_comes_back(events in prop::collection::vec((any_event(), 0_u64..40_000), 0..200)) {
        let policy = Policy::default();
        let mut child = Child::new(policy);
        let mut now = Duration::ZERO;
        let mut restarts = child.restarts();
        for (event, step) in events {
            now += Duration::from_millis(step);
            let before = child.phase();
            child.on(event, now);
            if let (Event::Exited { .. }, Phase::Backoff, false) = (event, child.phase(), before == Phase::Backoff) {
                let wait = child.deadline().expect("a wait has an end") - now;
                let asked = child.last_exit().is_some_and(|(_, cause)| cause == Cause::Restart);
                let long_enough = if asked { wait.is_zero() } else { wait >= Duration::from_millis(125) };
                prop_assert!(long_enough, "{:?}", wait);
                prop_assert!(wait <= Duration::from_secs(30));
                prop_assert!(!child.failing() || asked || wait >= Duration::from_secs(15), "failing waits longest");
            }
            prop_assert!(child.restarts() >= restarts && child.restarts() <= restarts + 1);
            restarts = child.restarts();
        }
        child.on(Event::Start, now);
        for _ in 0..8 {
            if child.phase() == Phase::Blocked || child.phase() == Phase::Running {
                break;
            }
            if let Some(deadline) = child.deadline() {
                now = now.max(deadline);
            }
            child.on(Event::Tick, now);
            match child.phase() {
                Phase::Starting => drop(child.on(Event::Ready, now)),
                Phase::Killing => drop(child.on(KILLED, now)),
                _ => {}
            }
        }
        prop_assert!(matches!(child.phase(), Phase::Blocked | Phase::Running), "{:?}", child.phase());
        child.on(Event::Restart { kill: false }, now);
        prop_assert!(child.phase() != Phase::Blocked, "a person can always try again");
    }

    /// A stop always comes to an end when killed processes end.
    #[test]
    fn a_stop_ends(events in prop::collection::vec((0_usize..4, any_event(), 0_u64..40_000), 0..100)) {
        let mut group = Group::new([Policy::default(); 4]);
        let mut now = Duration::ZERO;
        group.start(now);
        for (index, event, step) in events {
            now += Duration::from_millis(step);
            group.on(index, event, now);
        }
        let mut actions = group.stop(now);
        for _ in 0..64 {
            for (index, action) in std::mem::take(&mut actions) {
                if action == Action::Kill && group.children()[index].alive() {
                    actions.extend(group.on(index, KILLED, now));
                }
            }
            if group.finished() {
                break;
            }
            if let Some(deadline) = group.deadline() {
                now = now.max(deadline);
            }
            actions.extend(group.all(Event::Tick, now));
            for index in 0..4 {
                if group.children()[index].phase() == Phase::Killing {
                    actions.extend(group.on(index, KILLED, now));
                }
            }
        }
        prop_assert!(group.finished());
    }
}
