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
use wavs_supervisor::supervise::exit::Cause;
use wavs_supervisor::supervise::logs::{self, LogFormat};
use wavs_supervisor::supervise::policy::Policy;
use wavs_supervisor::supervise::runner::{Documents, Runner};
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
    reload: mpsc::Sender<Documents>,
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
                    },
                    shim: env!("CARGO_BIN_EXE_wavs").into(),
                    sockets: vec![(
                        "ctl",
                        OwnedFd::from(UnixListener::bind(run_dir.join("ctl.sock")).unwrap()),
                    )],
                    config: None,
                    run_dir,
                    policy: policy(),
                }
            })
            .collect();
        Self { dir, specs }
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
        let (reload, reloads) = mpsc::channel(1);
        let task = tokio::spawn(runner.run(shutdown.clone(), reloads));
        Running {
            snapshots,
            shutdown,
            reload,
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
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(before[0].pid.unwrap().try_into().unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
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
async fn a_configuration_error_blocks_until_a_reload() {
    let mut running = Bench::new(&[("engine-svc", "exit-78"), ("p2p-svc", "serve")]).start();
    let blocked = running
        .until("it is blocked", |all| all[0].state == ProcessState::Blocked)
        .await;
    assert_eq!(blocked[0].restarts, 0);
    running
        .until("the other one runs", |all| all[1].state == ProcessState::Running)
        .await;
    running.reload.send(vec![None, None]).await.unwrap();
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
    let mut config = tempfile::tempfile().unwrap();
    config.write_all(b"the document").unwrap();
    bench.specs[0].config = Some(config);
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
