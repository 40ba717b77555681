//! A process from its start in the jail to its end, as a real process.
//!
//! This binary has no test framework, because it plays three parts: the tests, the jail shim (first argument `jail`), and the process
//! itself (called by the name `wavs-engine`).

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use wavs_ipc::client::Reconnecting;
use wavs_ipc::contract::lifecycle::{Health, Lifecycle, LifecycleClient};
use wavs_ipc::handler;
use wavs_ipc::identity::{Identity, Role};
use wavs_ipc::server::Router;
use wavs_service::config::{EngineConfig, Flags, Loader, Sources};
use wavs_service::sandbox::{Jail, Limits, Profile};
use wavs_service::{Boot, Fatal, Handover, ProcessName};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().map(PathBuf::from).unwrap_or_default();
    if name.file_name().is_some_and(|name| name == "wavs-engine") {
        return wavs_service::main(ProcessName::Engine, profile, child);
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "jail") {
        let Err(error) = Jail::from_arguments(arguments.skip(1)).and_then(|jail| jail.enter());
        return wavs_service::exit::report(&error.into());
    }
    let tests: [(&str, fn()); 8] = [
        ("a_jailed_process_serves_and_stops", a_jailed_process_serves_and_stops),
        (
            "a_jailed_process_holds_only_what_it_was_given",
            a_jailed_process_holds_only_what_it_was_given,
        ),
        ("a_drain_request_ends_the_process", a_drain_request_ends_the_process),
        (
            "pings_arrive_while_the_runtime_works",
            pings_arrive_while_the_runtime_works,
        ),
        (
            "a_process_started_by_hand_binds_its_sockets",
            a_process_started_by_hand_binds_its_sockets,
        ),
        ("errors_become_exit_codes", errors_become_exit_codes),
        ("help_and_version_teach", help_and_version_teach),
        (
            "a_child_does_not_outlive_its_parent",
            a_child_does_not_outlive_its_parent,
        ),
    ];
    // The arguments of cargo test: a filter, if there is one without a dash.
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(&filter)) {
        test();
        eprintln!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// A limit of memory that nothing here comes near.
const DATA: u64 = 4 << 30;

/// The child may use its stage and nothing else.
fn profile(_: &EngineConfig, data_dir: &Path) -> Profile {
    Profile::internet().writes(data_dir)
}

/// The work of the child: tells what it sees, serves the lifecycle contract, and does what the file `orders` says.
async fn child(boot: Boot<EngineConfig>) -> anyhow::Result<()> {
    match std::fs::read_to_string(boot.data_dir.join("orders"))
        .unwrap_or_default()
        .as_str()
    {
        "fail" => anyhow::bail!("the work failed"),
        "refuse" => return Err(anyhow::Error::new(Fatal::config("this cannot work")).context("cannot start")),
        _ => {}
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let descriptors =
        std::fs::read_dir("/proc/self/fd")?.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let seen = serde_json::json!({
        "variables": std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "no_new_privs": status.contains("NoNewPrivs:\t1"),
        "umask": status.lines().find_map(|line| line.strip_prefix("Umask:\t")),
        "core": getrlimit(Resource::RLIMIT_CORE)?,
        "open_files": getrlimit(Resource::RLIMIT_NOFILE)?,
        "data": getrlimit(Resource::RLIMIT_DATA)?,
        "sandbox": boot.lifecycle.status.snapshot().sandbox,
        "descriptors": descriptors.map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "rpc": boot.rpc.is_some(),
        "workers": boot.config.workers,
        "group_leader": nix::unistd::getpgrp() == Pid::this(),
    });
    std::fs::write(boot.data_dir.join("seen"), serde_json::to_vec(&seen)?)?;
    let lifecycle = boot.lifecycle.clone();
    lifecycle.metrics.counter("test.starts", "Starts.", &[]).with(&[]).inc();
    let router =
        Router::new(Identity::new(Role::Engine)).serve::<LifecycleClient, _, _>(handler!(Lifecycle, lifecycle));
    let serving = tokio::spawn(router.run(boot.ctl, boot.shutdown.clone().cancelled_owned()));
    boot.notify.ready();
    boot.notify.status("serving the test");
    boot.shutdown.cancelled().await;
    serving.await?;
    Ok(())
}

/// A place for one child.
struct Stage {
    directory: TempDir,
    notify: UnixDatagram,
    program: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let program = directory.path().join("wavs-engine");
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &program).unwrap();
        Self {
            directory,
            notify,
            program,
        }
    }

    fn data(&self) -> &Path {
        self.directory.path()
    }

    fn ctl(&self) -> PathBuf {
        ProcessName::Engine.ctl_socket(self.data())
    }

    /// The configuration document for the child.
    fn handover(&self) -> OwnedFd {
        let flags = Flags::default()
            .with("data", self.data().display().to_string())
            .with("engine.workers", "7");
        let loaded = Loader::new(flags, Sources::default()).load().unwrap();
        Handover::<EngineConfig>::of(&loaded.node).to_descriptor().unwrap()
    }

    /// The command that starts the child in the jail, as the supervisor does it.
    fn jailed(&self, arguments: &[&str]) -> Command {
        let limits = Limits {
            open_files: Some(256),
            data: Some(DATA),
        };
        // In place of the kernel's file, to which a process writes 0 to join the group.
        let group = self.data().join("cgroup.procs");
        std::fs::write(&group, "").unwrap();
        let jail = Jail {
            program: self.program.clone(),
            arguments: arguments.iter().map(OsString::from).collect(),
            limits,
            cgroup: Some(group),
        };
        let socket = |path: PathBuf| wavs_ipc::socket::bind_fd(&path).unwrap();
        let descriptors = vec![
            ("ctl".to_owned(), socket(self.ctl())),
            ("rpc".to_owned(), socket(ProcessName::Engine.rpc_socket(self.data()))),
            ("config".to_owned(), self.handover()),
        ];
        let mut command = jail.command(&std::env::current_exe().unwrap(), "jail", descriptors);
        command
            .env("NOTIFY_SOCKET", self.data().join("notify"))
            .env("WAVS_SIGNING_MNEMONIC", "not for children");
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Waits for a notification with this line.
    fn hear(&self, line: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self
                .notify
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("no {line:?} came: {error}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|candidate| candidate == line) {
                return text;
            }
        }
    }

    fn seen(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.data().join("seen")).unwrap()).unwrap()
    }
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

/// The output of a child that must end by itself; its error output is given with it when it does not.
fn end(mut child: Child) -> (Option<i32>, String) {
    // The pipe closes when the child ends, so reading it to its end is waiting for it.
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

fn a_jailed_process_serves_and_stops() {
    let stage = Stage::new();
    let child = stage.jailed(&[]).spawn().unwrap();
    stage.hear("READY=1");
    stage.hear("STATUS=serving the test");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Reconnecting::<LifecycleClient>::new(stage.ctl(), Identity::new(Role::Supervisor));
        let status = client
            .call(PATIENCE, |client, context| async move { client.status(context).await })
            .await
            .unwrap();
        assert_eq!((status.name.as_str(), status.health), ("engine-svc", Health::Running));
        assert_eq!(status.pid, child.id());
        let metrics = client
            .call(PATIENCE, |client, context| async move { client.metrics(context).await })
            .await
            .unwrap();
        assert!(metrics.contains("test_starts_total 1"), "{metrics}");
    });
    signal(&child, Signal::SIGTERM);
    stage.hear("STOPPING=1");
    let (code, said) = end(child);
    assert_eq!(code, Some(0), "{said}");
    // With a parent that listens, every line is one JSON object.
    for line in said.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert!(said.contains("SIGTERM"), "{said}");
}

fn a_jailed_process_holds_only_what_it_was_given() {
    let stage = Stage::new();
    // A descriptor that leaks into the shim must not reach the program.
    let leak = std::fs::File::open("/dev/zero").unwrap();
    nix::fcntl::fcntl(leak.as_fd(), nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let child = stage.jailed(&[]).spawn().unwrap();
    stage.hear("READY=1");
    signal(&child, Signal::SIGINT);
    let (code, said) = end(child);
    assert_eq!(code, Some(0), "{said}");
    let seen = stage.seen();
    let text = seen.to_string();
    assert_eq!(seen["no_new_privs"], true, "{text}");
    assert_eq!(seen["umask"], "0077", "{text}");
    assert_eq!(
        (&seen["core"], &seen["open_files"]),
        (&serde_json::json!([0, 0]), &serde_json::json!([256, 256])),
        "{text}"
    );
    assert_eq!(seen["data"], serde_json::json!([DATA, DATA]), "{text}");
    let group = std::fs::read_to_string(stage.data().join("cgroup.procs")).unwrap();
    assert_eq!(group, "0", "it joined its control group");
    let sandbox = seen["sandbox"].as_array().unwrap();
    for protection in ["no_new_privs", "no-core"] {
        assert!(sandbox.iter().any(|one| one == protection), "{protection}: {text}");
    }
    assert_eq!(
        (&seen["rpc"], &seen["workers"], &seen["group_leader"]),
        (&true.into(), &7.into(), &true.into()),
        "{text}"
    );
    assert!(
        !text.contains("/dev/zero") && !text.contains("WAVS_SIGNING_MNEMONIC") && !text.contains("HOME"),
        "{text}"
    );
    assert!(text.contains("NOTIFY_SOCKET") && text.contains("LISTEN_PID"), "{text}");
    drop(leak);
}

fn a_drain_request_ends_the_process() {
    let stage = Stage::new();
    let child = stage.jailed(&[]).spawn().unwrap();
    stage.hear("READY=1");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Reconnecting::<LifecycleClient>::new(stage.ctl(), Identity::new(Role::Supervisor));
        client
            .call(PATIENCE, |client, context| async move { client.drain(context).await })
            .await
            .unwrap();
    });
    stage.hear("STOPPING=1");
    assert_eq!(end(child).0, Some(0));
}

fn pings_arrive_while_the_runtime_works() {
    let stage = Stage::new();
    // The variable is for the pid that systemd knows, which stays the same over exec; without a pid it is for whoever reads it.
    let child = stage.jailed(&[]).env("WATCHDOG_USEC", "40000").spawn().unwrap();
    stage.hear("READY=1");
    for _ in 0..3 {
        stage.hear("WATCHDOG=1");
    }
    signal(&child, Signal::SIGTERM);
    assert_eq!(end(child).0, Some(0));
}

fn a_process_started_by_hand_binds_its_sockets() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new();
    let mut command = Command::new(&stage.program);
    command
        .current_dir(stage.data())
        .env_remove("NOTIFY_SOCKET")
        .env("WAVS_DATA", stage.data())
        .stderr(Stdio::piped());
    let mut child = command.arg("--log-level=info").spawn().unwrap();
    // Its log says when it is ready; read byte by byte, so that nothing is lost for later.
    let mut said = Vec::new();
    let mut stderr = child.stderr.take().unwrap();
    let start = Instant::now();
    while !String::from_utf8_lossy(&said).contains(" ready") {
        let mut byte = [0];
        let read = stderr.read(&mut byte).unwrap();
        assert!(
            read == 1 && start.elapsed() < PATIENCE,
            "{}",
            String::from_utf8_lossy(&said)
        );
        said.extend(byte);
    }
    let mode = stage.ctl().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A second one on the same directory is refused and leaves the first one alone.
    let second = command.output().unwrap();
    assert_eq!(
        second.status.code(),
        Some(78),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
    assert!(String::from_utf8_lossy(&second.stderr).contains("served already"));
    signal(&child, Signal::SIGINT);
    child.stderr = Some(stderr);
    let (code, rest) = end(child);
    assert_eq!(code, Some(0), "{rest}");
    let said = String::from_utf8_lossy(&said).into_owned() + &rest;
    assert!(said.contains("no wavs.toml found"), "{said}");
}

fn errors_become_exit_codes() {
    let check = |orders: &str, arguments: &[&str], code: i32, once: &str| {
        let stage = Stage::new();
        std::fs::write(stage.data().join("orders"), orders).unwrap();
        let (ended, said) = end(stage.jailed(arguments).spawn().unwrap());
        assert_eq!(ended, Some(code), "{said}");
        assert_eq!(said.matches(once).count(), 1, "{said}");
    };
    check("fail", &[], 1, "the work failed");
    check("refuse", &[], 78, "cannot start: this cannot work");
    check("", &["--no-such-flag"], 64, "unexpected argument");

    let stage = Stage::new();
    let mut broken = Command::new(&stage.program);
    let output = broken
        .current_dir(stage.data())
        .env("WAVS_PORT", "http")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("environment variable WAVS_PORT"));

    let absent = Jail {
        program: "/nowhere/wavs-engine".into(),
        arguments: Vec::new(),
        limits: Limits::default(),
        cgroup: None,
    };
    let output = absent
        .command(&std::env::current_exe().unwrap(), "jail", Vec::new())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/wavs-engine"));
}

fn help_and_version_teach() {
    let stage = Stage::new();
    let run = |argument: &str| -> Output { Command::new(&stage.program).arg(argument).output().unwrap() };
    let help = run("--help");
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success());
    for part in [
        "Runs the components",
        "--max-execution-seconds",
        "[default: 300]",
        "--home",
        "LISTEN_FDS",
        "Exit codes",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let version = run("--version");
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
}

fn a_child_does_not_outlive_its_parent() {
    let stage = Stage::new();
    // A shell is the parent: it starts the shim in the background and is killed.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "\"$SHIM\" jail -- \"$PROGRAM\" & wait"])
        .env("SHIM", std::env::current_exe().unwrap());
    shell
        .env("PROGRAM", &stage.program)
        .env("NOTIFY_SOCKET", stage.data().join("notify"))
        .env("WAVS_DATA", stage.data());
    // The jail takes WAVS_DATA away, so the child finds its directory through the file in its current directory.
    std::fs::File::create(stage.data().join("wavs.toml"))
        .unwrap()
        .write_all(b"[wavs]\ndata = \".\"\n")
        .unwrap();
    let mut shell = shell.current_dir(stage.data()).stdout(Stdio::piped()).spawn().unwrap();
    stage.hear("READY=1");
    signal(&shell, Signal::SIGKILL);
    shell.wait().unwrap();
    // The child inherited the pipe and never closes it, so the pipe is at its end when the child is gone.
    let mut pipe = shell.stdout.take().unwrap();
    let (gone, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || gone.send(std::io::copy(&mut pipe, &mut std::io::sink())));
    assert!(told.recv_timeout(PATIENCE).is_ok(), "the child lives on");
}
