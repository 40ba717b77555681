//! What whoever takes over engine-svc can reach: probed by native code inside of the real process, after its lock-down.
//!
//! This binary plays three parts, so it has no test framework: the test; engine-svc itself, started by the same function as
//! the real one and with the same profile, which probes instead of serving; and a process with the profile of the worker that
//! runs the library for registries.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Pid, getppid};
use serde_json::json;
use wavs_engine::{Helpers, Node, Settings};
use wavs_ipc::Json;
use wavs_ipc::contract::engine::{Engine, Prefetch, World};
use wavs_ipc::contract::engine_admin::EngineAdmin;
use wavs_ipc::tarpc::context;
use wavs_service::config::EngineConfig;
use wavs_service::sandbox::{Profile, Strictness, lock_down};
use wavs_service::{Boot, ProcessName};

/// Tells the probing process where the test listens.
const PORT: &str = "WAVS_ENV_TEST_PORT";
/// Tells it that it is the worker, and where its proxy is.
const PROXY: &str = "WAVS_ENV_TEST_PROXY";

fn main() -> ExitCode {
    if let Some(code) = wavs_engine::run_subcommand(std::env::args_os()) {
        return code;
    }
    if std::env::var_os(PROXY).is_some() {
        return probe_worker();
    }
    if std::env::var_os(PORT).is_some() {
        return wavs_service::main_with(ProcessName::Engine, wavs_engine::prepare, probe);
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let tests: [(&str, fn()); 2] = [
        (
            "whoever_takes_over_the_engine_finds_nothing",
            whoever_takes_over_the_engine_finds_nothing,
        ),
        (
            "the_library_for_registries_goes_nowhere_but_to_its_proxy",
            the_library_for_registries_goes_nowhere_but_to_its_proxy,
        ),
    ];
    for (name, test) in tests {
        if filter.as_ref().is_none_or(|filter| name.contains(filter)) {
            test();
            eprintln!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn the_library_for_registries_goes_nowhere_but_to_its_proxy() {
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut worker = Command::new(std::env::current_exe().unwrap());
    worker.env_clear().env(PORT, port(&other)).env(PROXY, port(&proxy));
    assert_eq!(judge(&mut worker), (9, 1));
}

/// In place of a download.
fn probe_worker() -> ExitCode {
    let port = |name| {
        std::env::var(name)
            .unwrap_or_default()
            .parse::<u16>()
            .unwrap_or_default()
    };
    let (proxy, other) = (port(PROXY), port(PORT));
    if let Err(cause) = lock_down(&Profile::proxy(proxy), Strictness::Strict, "engine") {
        eprintln!("{cause}");
        return ExitCode::FAILURE;
    }
    let connect = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop);
    allowed("connect to its proxy", connect(proxy));
    refused("connect to another port", connect(other));
    refused("listen", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop));
    refused(
        "make a socket for datagrams",
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
    );
    let six = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::empty(), None);
    refused("make a socket for IPv6", six.map(drop).map_err(io::Error::from));
    refused("connect to another process", UnixStream::connect("/tmp/wavs").map(drop));
    refused("read a file", File::open("/etc/passwd").map(drop));
    refused("write a file", fs::write("/tmp/wavs-containment-probe", "x"));
    refused("execute a program", Command::new("/bin/true").status().map(drop));
    refused(
        "signal its parent",
        kill(getppid(), Signal::SIGCONT).map_err(io::Error::from),
    );
    ExitCode::SUCCESS
}

fn whoever_takes_over_the_engine_finds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    for path in ["aggregator", "run/uploads", "run/aggregator"] {
        fs::create_dir_all(data.join(path)).unwrap();
    }
    fs::write(data.join("aggregator/keys"), "secret").unwrap();
    let echo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/components/prebuilt/echo.wasm");
    fs::copy(echo, data.join("run/uploads/echo")).unwrap();
    let _ctl = UnixListener::bind(data.join("run/aggregator/ctl.sock")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut engine = Command::new(std::env::current_exe().unwrap());
    engine
        .env_clear()
        .env("WAVS_DATA", data)
        .env(PORT, tcp.local_addr().unwrap().port().to_string());
    assert_eq!(judge(&mut engine), (REFUSED, ALLOWED));
    assert_eq!(fs::read(data.join("aggregator/keys")).unwrap(), b"secret");
}

/// Runs a probing process, and counts what was refused to it and what it may do. Each line that it prints is a probe.
fn judge(process: &mut Command) -> (usize, usize) {
    let output = process.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (mut refused, mut allowed) = (0, 0);
    for line in text.lines() {
        let (expectation, probe) = line.split_once(' ').unwrap();
        let (name, outcome) = probe.split_once(": ").unwrap();
        match expectation {
            "refused" => {
                // Landlock answers a move between directories of different rights like one between file systems.
                let reasons = ["denied", "not permitted", "cross-device"];
                assert!(
                    reasons.iter().any(|reason| outcome.contains(reason)),
                    "{name} is not refused: {outcome}"
                );
                refused += 1;
            }
            _ => {
                assert_eq!(outcome, "done", "{name} does not work");
                allowed += 1;
            }
        }
    }
    (refused, allowed)
}

/// Probes that must fail, so that none is lost.
const REFUSED: usize = 33;
/// Probes that must succeed: what the process does all day.
const ALLOWED: usize = 7;

/// In place of the work of engine-svc.
async fn probe(boot: Boot<EngineConfig>, (settings, helpers): (Settings, Helpers)) -> anyhow::Result<()> {
    let data = boot.data_dir.clone();
    allowed("compile and keep an upload", work(&settings, helpers).await);
    let port = std::env::var(PORT)?.parse()?;
    // What holds for one thread must hold for those that came later.
    tokio::task::spawn_blocking(move || {
        uses(&settings, port);
        files(&data, &settings);
        processes();
        calls();
        sockets(&data);
    })
    .await?;
    Ok(())
}

async fn work(settings: &Settings, helpers: Helpers) -> io::Result<()> {
    let node = Node::open(settings.clone(), helpers, &wavs_service::Metrics::new()).map_err(io::Error::other)?;
    let stored = node.clone().store_component(context::current(), "echo".into()).await;
    let digest = stored.map_err(io::Error::other)?.digest;
    let request = Prefetch {
        source: Json::from_text(json!({"digest": digest.to_string()}).to_string()),
        world: World::Operator,
        metered: true,
        deterministic: false,
    };
    node.prefetch(context::current(), request)
        .await
        .map_err(io::Error::other)
}

fn uses(settings: &Settings, port: u16) {
    allowed(
        "write a guest's file",
        fs::write(settings.files_dir().join("file"), "x"),
    );
    allowed("read compiled code", fs::read_dir(&settings.cache_dir).map(drop));
    allowed("connect to a host", TcpStream::connect(("127.0.0.1", port)).map(drop));
    allowed("look up a name", ("localhost", 1).to_socket_addrs().map(drop));
    allowed("wake up by a pair of streams", UnixStream::pair().map(drop));
    allowed("start a thread", std::thread::Builder::new().spawn(|| {}).map(drop));
}

fn files(data: &Path, settings: &Settings) {
    let parent = getppid();
    for path in [
        data.join("aggregator/keys"),
        "/etc/passwd".into(),
        "/root".into(),
        format!("/proc/{parent}/environ").into(),
        format!("/proc/{parent}/mem").into(),
        std::env::current_exe().unwrap_or_default(),
    ] {
        refused(&format!("read {}", path.display()), File::open(path).map(drop));
    }
    refused("list the data directory", fs::read_dir(data).map(drop));
    let code = fs::read_dir(&settings.cache_dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "cwasm"))
        .unwrap_or_default();
    refused(
        "change compiled code",
        File::options().append(true).open(&code).map(drop),
    );
    refused("remove compiled code", fs::remove_file(&code));
    refused(
        "plant compiled code",
        fs::write(settings.cache_dir.join("x.cwasm"), "x"),
    );
    let planted = settings.files_dir().join("planted");
    let _ = fs::write(&planted, "x");
    refused(
        "move a file to compiled code",
        fs::rename(&planted, settings.cache_dir.join("y.cwasm")),
    );
    refused("write beside the state", fs::write(data.join("x"), "x"));
    refused(
        "write to the state of another process",
        fs::write(data.join("aggregator/x"), "x"),
    );
    refused("write to /tmp", fs::write("/tmp/wavs-containment-probe", "x"));
}

fn processes() {
    let parent = getppid();
    refused("execute a program", Command::new("/bin/true").status().map(drop));
    refused("execute itself", Command::new("/proc/self/exe").status().map(drop));
    refused(
        "signal another process",
        kill(parent, Signal::SIGCONT).map_err(io::Error::from),
    );
    refused("trace another process", ptrace::attach(parent).map_err(io::Error::from));
    refused("read the memory of another process", peek(parent));
    refused(
        "enter a new namespace",
        unshare(CloneFlags::CLONE_NEWUSER).map_err(io::Error::from),
    );
}

fn peek(parent: Pid) -> io::Result<()> {
    let mut buffer = [0; 8];
    let remote = RemoteIoVec { base: 0x1000, len: 8 };
    process_vm_readv(parent, &mut [io::IoSliceMut::new(&mut buffer)], &[remote])?;
    Ok(())
}

fn calls() {
    for (name, outcome) in wavs_service::sandbox::forbidden_calls() {
        refused(name, outcome);
    }
}

fn sockets(data: &Path) {
    refused(
        "connect to the socket of another process",
        UnixStream::connect(data.join("run/aggregator/ctl.sock")).map(drop),
    );
    refused("make a pair that can send anywhere", UnixDatagram::pair().map(drop));
    for (name, family) in [
        ("packets", AddressFamily::Packet),
        ("virtual machines", AddressFamily::Vsock),
    ] {
        let made = socket(family, SockType::Stream, SockFlag::empty(), None);
        refused(
            &format!("make a socket for {name}"),
            made.map(drop).map_err(io::Error::from),
        );
    }
}

fn refused(name: &str, outcome: io::Result<()>) {
    tell("refused", name, outcome);
}

fn allowed(name: &str, outcome: io::Result<()>) {
    tell("allowed", name, outcome);
}

#[allow(clippy::print_stdout, reason = "this is how the probing process reports")]
fn tell(expectation: &str, name: &str, outcome: io::Result<()>) {
    let outcome = outcome.map_or_else(|cause| cause.to_string().replace('\n', " "), |()| "done".to_owned());
    println!("{expectation} {name}: {outcome}");
}
