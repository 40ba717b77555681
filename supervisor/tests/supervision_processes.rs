//! Supervision of real processes: the children are this test binary again, started through the real jail shim and told by
//! an argument how to behave.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wavs_service::sandbox::{Jail, Limits};
use wavs_supervisor::supervise::cgroup::GroupLimits;
use wavs_supervisor::supervise::exit::{Cause, Exit};
use wavs_supervisor::supervise::logs::{self, LogFormat};
use wavs_supervisor::supervise::policy::Policy;
use wavs_supervisor::supervise::runner::{self, Order, Renewal, Runner};
use wavs_supervisor::supervise::snapshot::{ProcessState, Snapshot};
use wavs_supervisor::supervise::spec::ChildSpec;

/// Arguments of the child. The test harness takes them for further filters, which match nothing.
const BEHAVIOUR: &str = "behaviour=";
const RECORD: &str = "record=";
/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// The child. As an ordinary test it has nothing to do.
#[test]
fn child_process() {
    let argument = |name: &str| std::env::args().find_map(|argument| argument.strip_prefix(name).map(str::to_owned));
    let Some(behaviour) = argument(BEHAVIOUR) else { return };
    assert_eq!(std::env::var("LISTEN_PID").unwrap(), std::process::id().to_string());
    let notify = UnixDatagram::unbound().unwrap();
    let address = std::env::var("NOTIFY_SOCKET").unwrap();
    let say = |text: &str| notify.send_to(text.as_bytes(), &address).map(drop).unwrap_or_default();
    let (name, behaviour) = behaviour.split_once(':').unwrap();
    match behaviour {
        "exit-78" => std::process::exit(78),
        "crash" => std::process::abort(),
        "silent" => std::thread::park(),
        "hang" => {
            say("READY=1");
            std::thread::park();
        }
        "parent" => {
            let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
            say(&format!("READY=1\nSTATUS={}", child.id()));
            child.wait().unwrap();
        }
        "config" => {
            let mut config = String::new();
            File::open("/proc/self/fd/4")
                .unwrap()
                .read_to_string(&mut config)
                .unwrap();
            let names = std::env::var("LISTEN_FDNAMES").unwrap();
            let inherited = std::env::var_os("CARGO_MANIFEST_DIR").is_some();
            say(&format!("READY=1\nSTATUS={names} {config} {inherited}"));
            std::thread::park();
        }
        "serve" | "deaf" => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
                eprintln!("{{\"level\":\"INFO\",\"fields\":{{\"message\":\"hello from {name}\"}}}}");
                say("READY=1\nSTATUS=serving");
                loop {
                    tokio::select! {
                        _ = term.recv() => if behaviour == "serve" { break },
                        () = tokio::time::sleep(Duration::from_millis(50)) => say("WATCHDOG=1"),
                    }
                }
            });
            let mut record = File::options()
                .append(true)
                .create(true)
                .open(argument(RECORD).unwrap())
                .unwrap();
            writeln!(record, "{name}").unwrap();
            std::process::exit(0);
        }
        other => panic!("unknown behaviour {other}"),
    }
}

/// Quick enough for tests, slow enough for a loaded machine.
fn policy() -> Policy {
    Policy {
        watchdog: Duration::from_secs(2),
        drain_timeout: Duration::from_secs(2),
        ..Policy::default()
    }
}

struct Bench {
    dir: tempfile::TempDir,
    specs: Vec<ChildSpec>,
}

struct Running {
    snapshots: watch::Receiver<Vec<Snapshot>>,
    shutdown: CancellationToken,
    orders: mpsc::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
    record: PathBuf,
    log: tokio::task::JoinHandle<Vec<u8>>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(children: &[(&'static str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("record");
        let specs = children
            .iter()
            .map(|(name, behaviour)| {
                let run_dir = dir.path().join(name);
                std::fs::create_dir(&run_dir).unwrap();
                ChildSpec {
                    name,
                    jail: Jail {
                        program: std::env::current_exe().unwrap(),
                        arguments: vec![
                            "--exact".into(),
                            "child_process".into(),
                            "--nocapture".into(),
                            format!("{BEHAVIOUR}{name}:{behaviour}").into(),
                            format!("{RECORD}{}", record.display()).into(),
                        ],
                        limits: Limits::default(),
                        cgroup: None,
                    },
                    shim: env!("CARGO_BIN_EXE_wavs").into(),
                    sockets: vec![(
                        "ctl",
                        OwnedFd::from(UnixListener::bind(run_dir.join("ctl.sock")).unwrap()),
                    )],
                    config: None,
                    run_dir,
                    policy: policy(),
                    cgroup: None,
                }
            })
            .collect();
        Self { dir, specs }
    }

    fn with_policy(mut self, policy: Policy) -> Self {
        for spec in &mut self.specs {
            spec.policy = policy;
        }
        self
    }

    /// Starts with this configuration for all.
    fn start_with(mut self, config: &str) -> Running {
        for spec in &mut self.specs {
            spec.config = Some(document(config));
        }
        self.start()
    }

    fn start(self) -> Running {
        let (output, mut captured) = tokio::io::duplex(1 << 20);
        let (sink, writer) = logs::channel(output, LogFormat::Text);
        let log = tokio::spawn(async move {
            let mut bytes = Vec::new();
            tokio::join!(writer, tokio::io::AsyncReadExt::read_to_end(&mut captured, &mut bytes))
                .1
                .unwrap();
            bytes
        });
        let runner = Runner::new(self.specs, sink);
        let snapshots = runner.snapshots();
        let shutdown = CancellationToken::new();
        let (orders, inbox) = runner::orders();
        let task = tokio::spawn(runner.run(shutdown.clone(), inbox));
        Running {
            snapshots,
            shutdown,
            orders,
            task,
            record: self.dir.path().join("record"),
            log,
            dir: self.dir,
        }
    }
}

impl Running {
    async fn until(&mut self, what: &str, condition: impl Fn(&[Snapshot]) -> bool) -> Vec<Snapshot> {
        let waited = async {
            self.snapshots
                .wait_for(|snapshots| condition(snapshots))
                .await
                .unwrap()
                .clone()
        };
        if let Ok(snapshots) = tokio::time::timeout(PATIENCE, waited).await {
            return snapshots;
        }
        panic!("waited in vain: {what}; now {:?}", self.snapshots.borrow())
    }

    async fn stop(self) -> (PathBuf, String, tempfile::TempDir) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the stop ends")
            .unwrap();
        let log = tokio::time::timeout(PATIENCE, self.log)
            .await
            .expect("the log ends")
            .unwrap();
        (self.record, String::from_utf8(log).unwrap(), self.dir)
    }
}

fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// A configuration document.
fn document(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn all_running(snapshots: &[Snapshot]) -> bool {
    snapshots.iter().all(|snapshot| snapshot.state == ProcessState::Running)
}

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn children_become_ready_and_stop_in_order() {
    let mut running = Bench::new(&[
        ("aggregator-svc", "serve"),
        ("trigger-svc", "serve"),
        ("engine-svc", "serve"),
    ])
    .start();
    let snapshots = running.until("all run", all_running).await;
    running
        .until("the status is known", |all| {
            all.iter().all(|one| one.status.as_deref() == Some("serving"))
        })
        .await;
    let (record, log, _dir) = running.stop().await;
    assert_eq!(
        std::fs::read_to_string(record).unwrap(),
        "aggregator-svc\ntrigger-svc\nengine-svc\n"
    );
    assert!(log.contains("engine-svc : hello from engine-svc"), "{log}");
    assert!(snapshots.iter().all(|snapshot| !alive(snapshot.pid.unwrap())));
}

#[tokio::test]
async fn a_killed_child_is_back_in_under_a_second_and_alone() {
    let mut running = Bench::new(&[("engine-svc", "serve"), ("p2p-svc", "serve")]).start();
    let before = running.until("all run", all_running).await;
    let killed = std::time::Instant::now();
    signal(before[0].pid.unwrap(), nix::sys::signal::Signal::SIGKILL);
    let after = running
        .until("it is back", |all| all[0].restarts == 1 && all_running(all))
        .await;
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(after[0].last_exit.unwrap().cause, Cause::Crash);
    assert_eq!((after[1].pid, after[1].restarts), (before[1].pid, 0));
    running.stop().await;
}

#[tokio::test]
async fn a_hanging_child_is_killed_by_the_watchdog() {
    let mut running = Bench::new(&[("engine-svc", "hang")]).start();
    let first = running.until("it runs", all_running).await[0].pid.unwrap();
    let after = running.until("it was restarted", |all| all[0].restarts >= 1).await;
    assert_eq!(after[0].last_exit.unwrap().cause, Cause::Watchdog);
    assert!(!alive(first));
    running.stop().await;
}

#[tokio::test]
async fn a_stopped_child_is_killed_by_the_watchdog_and_replaced_alone() {
    let mut running = Bench::new(&[("engine-svc", "serve"), ("p2p-svc", "serve")]).start();
    let before = running.until("all run", all_running).await;
    // A process that is stopped answers no signal but SIGKILL, like one that hangs in the kernel.
    signal(before[0].pid.unwrap(), nix::sys::signal::Signal::SIGSTOP);
    let after = running
        .until("it was replaced", |all| all[0].restarts == 1 && all_running(all))
        .await;
    let last = after[0].last_exit.unwrap();
    assert_eq!((last.cause, last.exit.signal()), (Cause::Watchdog, Some("SIGKILL")));
    assert_eq!((after[1].pid, after[1].restarts), (before[1].pid, 0));
    running.stop().await;
}

#[tokio::test]
async fn a_restart_that_was_asked_for_drains_or_kills_and_counts_as_no_failure() {
    let mut running = Bench::new(&[("engine-svc", "serve"), ("p2p-svc", "serve")]).start();
    let before = running.until("all run", all_running).await;
    for (restarts, kill) in [
        (1, false),
        (2, true),
        (3, false),
        (4, true),
        (5, false),
        (6, false),
        (7, false),
    ] {
        let name = "engine-svc";
        running.orders.send(Order::Restart { name, kill }).await.unwrap();
        let after = running
            .until("it is back", |all| all[0].restarts == restarts && all_running(all))
            .await;
        let last = after[0].last_exit.unwrap();
        let how = if kill { Exit::Signal(9) } else { Exit::Code(0) };
        assert_eq!((last.cause, last.exit), (Cause::Restart, how));
    }
    let after = running.until("nothing else happens", all_running).await;
    assert_eq!((after[1].pid, after[1].restarts), (before[1].pid, 0));
    let (record, _, _dir) = running.stop().await;
    // Those that drained, and both at the end.
    assert_eq!(std::fs::read_to_string(record).unwrap().lines().count(), 5 + 2);
}

#[tokio::test]
async fn a_reload_restarts_only_what_has_a_new_configuration() {
    let mut running = Bench::new(&[("engine-svc", "config"), ("p2p-svc", "config")])
        .with_policy(Policy {
            watchdog: Duration::from_secs(600),
            ..policy()
        })
        .start_with("old");
    let told = |text: &'static str| move |all: &[Snapshot]| all[0].status.as_deref().is_some_and(|s| s.contains(text));
    let before = running.until("it read the old one", told("old")).await;
    let before = running
        .until("the other one too", |all| all[1].status.is_some())
        .await
        .into_iter()
        .zip(before)
        .map(|(row, _)| row.pid)
        .collect::<Vec<_>>();
    let renewal = |name, restart| Renewal {
        name,
        config: document("new"),
        limits: Limits::default(),
        group: GroupLimits::default(),
        policy: policy(),
        restart,
    };
    let renewals = vec![renewal("p2p-svc", false), renewal("engine-svc", true)];
    running.orders.send(Order::Reload(renewals)).await.unwrap();
    let after = running.until("it read the new one", told("new")).await;
    assert_eq!(after[0].last_exit.unwrap().cause, Cause::Restart);
    assert_eq!(after[1].pid, before[1]);
    running.stop().await;
}

#[tokio::test]
async fn what_a_child_leaves_in_its_group_goes_with_it() {
    let mut running = Bench::new(&[("engine-svc", "parent")]).start();
    let told = |all: &[Snapshot]| all[0].status.is_some();
    let first = running.until("it told of its own child", told).await;
    let grandchild: u32 = first[0].status.as_deref().unwrap().parse().unwrap();
    assert!(alive(grandchild));
    signal(first[0].pid.unwrap(), nix::sys::signal::Signal::SIGKILL);
    running.until("it was restarted", |all| all[0].restarts >= 1).await;
    // Killed with the group; whoever inherits it reaps it when it comes to it.
    let state = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
    assert!(state.is_err() || state.unwrap().contains(") Z "), "it lives on");
    running.stop().await;
}

#[tokio::test]
async fn a_configuration_error_blocks_until_a_reload() {
    let mut running = Bench::new(&[("engine-svc", "exit-78"), ("p2p-svc", "serve")]).start();
    let blocked = running
        .until("it is blocked", |all| all[0].state == ProcessState::Blocked)
        .await;
    assert_eq!(blocked[0].restarts, 0);
    running
        .until("the other one runs", |all| all[1].state == ProcessState::Running)
        .await;
    running.orders.send(Order::Reload(Vec::new())).await.unwrap();
    running
        .until("it was tried again", |all| {
            all[0].restarts == 1 && all[0].state == ProcessState::Blocked
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_deaf_child_is_killed_after_the_drain_timeout() {
    let mut running = Bench::new(&[("engine-svc", "deaf")]).start();
    let pid = running.until("it runs", all_running).await[0].pid.unwrap();
    running.stop().await;
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_missing_program_is_tried_again_later() {
    let mut bench = Bench::new(&[("engine-svc", "serve")]);
    bench.specs[0].shim = "/nonexistent/wavs".into();
    let mut running = bench.start();
    let waiting = running
        .until("it waits", |all| all[0].state == ProcessState::Backoff)
        .await;
    assert_eq!(waiting[0].last_exit.unwrap().cause, Cause::Spawn);
    running.stop().await;
}

#[tokio::test]
async fn sockets_and_configuration_outlive_a_restart() {
    let mut bench = Bench::new(&[("engine-svc", "config")]);
    bench.specs[0].config = Some(document("the document"));
    let socket = bench.specs[0].run_dir.join("ctl.sock");
    let mut running = bench.start();
    let known = |all: &[Snapshot]| all[0].status.is_some();
    let expected = Some("ctl:config the document false".to_owned());
    let first = running.until("it read its configuration", known).await;
    assert_eq!(first[0].status, expected);
    running.until("it was restarted", |all| all[0].restarts >= 1).await;
    let _queued = UnixStream::connect(&socket).expect("a connect queues while the process is down");
    let second = running.until("it read its configuration again", known).await;
    assert_eq!(second[0].status, expected);
    running.stop().await;
}

#[tokio::test]
async fn a_crash_loop_backs_off() {
    let mut running = Bench::new(&[("engine-svc", "crash")]).start();
    let after = running.until("three restarts", |all| all[0].restarts >= 3).await;
    assert_eq!(after[0].last_exit.unwrap().exit.signal(), Some("SIGABRT"));
    running.stop().await;
}

#[tokio::test]
async fn a_slow_start_is_killed() {
    let mut bench = Bench::new(&[("engine-svc", "silent")]);
    bench.specs[0].policy.start_timeout = Duration::from_millis(300);
    let mut running = bench.start();
    let after = running.until("it was restarted", |all| all[0].restarts >= 1).await;
    assert_eq!(after[0].last_exit.unwrap().cause, Cause::StartTimeout);
    running.stop().await;
}
