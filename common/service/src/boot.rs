//! The way of a process from `main` to its work and out again.

use std::fs::DirBuilder;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use wavs_ipc::socket::{self, Listener, SocketError};

use crate::arguments::{self, Asked};
use crate::check::Finding;
use crate::config::{Audience, Flags, Loader, ProcessConfig};
use crate::exit::{self, Fatal};
use crate::handover::{self, Handover};
use crate::lifecycle::LifecycleServer;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::process::ProcessName;
use crate::protections;
use crate::sandbox::{Inherited, LockDownError, Profile, Protections, lock_down};
use crate::status::StatusBoard;
use crate::telemetry;
use crate::watchdog::Watchdog;

/// Everything that a process starts with.
pub struct Boot<C> {
    /// Its configuration, with the secrets that it may hold.
    pub config: C,
    /// The directory under which all processes keep their state; this one owns [`ProcessName::state_dir`] in it.
    pub data_dir: PathBuf,
    /// The socket that the supervisor calls.
    pub ctl: Listener,
    /// The socket that aggregator-svc calls; only for processes that have one.
    pub rpc: Option<Listener>,
    /// Cancelled by SIGTERM, SIGINT or a drain request: take nothing new, finish what runs, return.
    pub shutdown: CancellationToken,
    /// Tells the parent that the process is ready.
    pub notify: Notifier,
    /// Takes further runtimes, if the process makes any: each must be alive, or the process is replaced.
    pub watchdog: Watchdog,
    /// The `Lifecycle` contract for the ctl socket; holds the status board and the metrics.
    pub lifecycle: LifecycleServer,
}

/// Runs the process `name`: the whole `main` of its binary.
///
/// `profile` says, from the configuration and the data directory, what the process may do once its configuration is read
/// and its sockets are open; the rest is given up before it has threads. `run` gets a [`Boot`] inside the runtime, serves both sockets, calls [`Notifier::ready`], and returns after
/// `shutdown` was cancelled and its work is finished. An error ends the process with the code of [`exit::code_of`].
pub fn main<C, Run, Work>(name: ProcessName, profile: fn(&C, &Path) -> Profile, run: Run) -> ExitCode
where
    C: ProcessConfig,
    Run: FnOnce(Boot<C>) -> Work,
    Work: Future<Output = anyhow::Result<()>>,
{
    main_with(
        name,
        |config, data_dir| Ok(((), profile(config, data_dir))),
        |boot, ()| run(boot),
    )
}

/// As [`main`], for a process that has something to do while it is still free to: `prepare` gets the configuration and the
/// data directory when there is a single thread and nothing is locked down yet, and says what the process may do from then
/// on. `run` gets what it made.
pub fn main_with<C, Prepared, Prepare, Run, Work>(name: ProcessName, prepare: Prepare, run: Run) -> ExitCode
where
    C: ProcessConfig,
    Prepare: FnOnce(&C, &Path) -> anyhow::Result<(Prepared, Profile)>,
    Run: FnOnce(Boot<C>, Prepared) -> Work,
    Work: Future<Output = anyhow::Result<()>>,
{
    debug_assert_eq!(name, C::PROCESS, "the configuration type belongs to another process");
    match arguments::parse(name, false, std::env::args_os()) {
        Asked::Run(flags) | Asked::Check(flags) => end(start(name, flags, prepare, run)),
        Asked::Done(code) => code,
    }
}

/// As [`main`], for a process that has something to say to `wavs check`: `check` gets what the process would start with, and answers
/// its findings. It opens no socket and changes nothing.
pub fn main_with_check<C, Run, Work, Check, Looking>(
    name: ProcessName,
    profile: fn(&C, &Path) -> Profile,
    run: Run,
    check: Check,
) -> ExitCode
where
    C: ProcessConfig,
    Run: FnOnce(Boot<C>) -> Work,
    Work: Future<Output = anyhow::Result<()>>,
    Check: FnOnce(Handover<C>) -> Looking,
    Looking: Future<Output = Vec<Finding>>,
{
    debug_assert_eq!(name, C::PROCESS, "the configuration type belongs to another process");
    match arguments::parse(name, true, std::env::args_os()) {
        Asked::Run(flags) => {
            let prepare = |config: &C, data_dir: &Path| Ok(((), profile(config, data_dir)));
            end(start(name, flags, prepare, |boot, ()| run(boot)))
        }
        Asked::Check(flags) => end(look(flags, check)),
        Asked::Done(code) => code,
    }
}

fn end(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

/// Prints the findings; what they mean is for the reader to say.
fn look<C, Check, Looking>(flags: Flags, check: Check) -> anyhow::Result<()>
where
    C: ProcessConfig,
    Check: FnOnce(Handover<C>) -> Looking,
    Looking: Future<Output = Vec<Finding>>,
{
    let mut inherited = Inherited::take().context("cannot take the inherited descriptors")?;
    let handover = match inherited.remove(handover::DESCRIPTOR) {
        Some(descriptor) => Handover::read(descriptor).map_err(|error| Fatal::config(error.to_string()))?,
        None => Handover::of(&loader::<C>(flags).load()?.node),
    };
    let runtime = runtime(C::PROCESS, 1)?;
    let findings = runtime.block_on(check(handover));
    runtime.shutdown_background();
    let text = serde_json::to_string(&findings).context("cannot write the findings")?;
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).context("cannot print the findings")
}

fn start<C, Prepared, Prepare, Run, Work>(
    name: ProcessName,
    flags: Flags,
    prepare: Prepare,
    run: Run,
) -> anyhow::Result<()>
where
    C: ProcessConfig,
    Prepare: FnOnce(&C, &Path) -> anyhow::Result<(Prepared, Profile)>,
    Run: FnOnce(Boot<C>, Prepared) -> Work,
    Work: Future<Output = anyhow::Result<()>>,
{
    let mut inherited = Inherited::take().context("cannot take the inherited descriptors")?;
    let Handover {
        data_dir,
        config,
        telemetry,
        sandbox,
    } = configuration::<C>(flags, &mut inherited)?;
    if name == ProcessName::Aggregator {
        // Keys live here: no core dump, and no other process of the same user may look into this one.
        nix::sys::prctl::set_dumpable(false).context("cannot make the process undumpable")?;
    }
    telemetry::install(&telemetry);
    make_state_dir(&name.state_dir(&data_dir))?;
    let ctl = socket_fd(&mut inherited, "ctl", name.ctl_socket(&data_dir))?;
    let rpc = name
        .has_rpc()
        .then(|| socket_fd(&mut inherited, "rpc", name.rpc_socket(&data_dir)))
        .transpose()?;
    Notifier::open();
    let (prepared, profile) = prepare(&config, &data_dir)?;
    let protections = lock_down(&profile, sandbox, name.short()).map_err(refused)?;
    let runtime = runtime(name, config.worker_threads())?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let status = StatusBoard::new(name);
        protections::report(&status);
        show(&protections, &status);
        let metrics = Metrics::of_this_build();
        let watchdog = Watchdog::default();
        watchdog.watch("main", tokio::runtime::Handle::current());
        let boot = Boot {
            ctl: listener("ctl", ctl)?,
            rpc: rpc.map(|rpc| listener("rpc", rpc)).transpose()?,
            config,
            data_dir,
            shutdown: shutdown.clone(),
            notify: Notifier::new(),
            watchdog: watchdog.clone(),
            lifecycle: LifecycleServer::new(status.clone(), metrics, shutdown.clone()),
        };
        tokio::spawn(stop_on_signal(shutdown.clone(), status)?);
        let _pinging = watchdog.start().context("cannot start the watchdog's thread")?;
        run(boot, prepared).await
    });
    // Work that blocks a thread must not hold up the end; whatever had to be durable was awaited by `run`.
    runtime.shutdown_background();
    result
}

/// The inherited document if there is one, else the configuration file, environment and flags.
fn configuration<C: ProcessConfig>(flags: Flags, inherited: &mut Inherited) -> anyhow::Result<Handover<C>> {
    if let Some(descriptor) = inherited.remove(handover::DESCRIPTOR) {
        return Handover::read(descriptor).map_err(|error| Fatal::config(error.to_string()).into());
    }
    let loaded = loader::<C>(flags).load()?;
    let handover = Handover::of(&loaded.node);
    telemetry::install(&handover.telemetry);
    loaded.log();
    Ok(handover)
}

fn loader<C: ProcessConfig>(flags: Flags) -> Loader {
    Loader::from_process(flags).only_for(Audience::Process(C::PROCESS))
}

/// The socket `name`: inherited, or bound at `path`.
fn socket_fd(inherited: &mut Inherited, name: &str, path: PathBuf) -> anyhow::Result<OwnedFd> {
    match inherited.remove(name) {
        Some(descriptor) => Ok(descriptor),
        None => socket::bind_fd(&path).map_err(|error| no_socket(name, &error)),
    }
}

fn listener(name: &str, descriptor: OwnedFd) -> anyhow::Result<Listener> {
    socket::inherit(descriptor).map_err(|error| no_socket(name, &error))
}

fn no_socket(name: &str, error: &SocketError) -> anyhow::Error {
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    Fatal::config(format!("no {name} socket: {error}{cause}")).into()
}

/// Makes the directory that the process keeps its state in, which rules for files can name only if it exists.
fn make_state_dir(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|cause| Fatal::config(format!("cannot make the state directory {}: {cause}", path.display())).into())
}

/// A kernel that lacks a protection does not get it by a restart.
fn refused(cause: LockDownError) -> anyhow::Error {
    match cause {
        LockDownError::Missing { .. } => Fatal::config(cause.to_string()).into(),
        cause => cause.into(),
    }
}

fn show(protections: &Protections, status: &StatusBoard) {
    for held in &protections.held {
        status.sandboxed(held);
    }
    if !protections.missing.is_empty() {
        let missing = protections.missing.join(", ");
        tracing::warn!(missing, "the process runs with less protection than it could have");
        status.degrade(
            "sandbox",
            format!("this kernel has no {missing}; the process runs without"),
        );
    }
}

fn runtime(name: ProcessName, threads: usize) -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name(name.short())
        .enable_all()
        .build()
        .context("cannot start the threads of the process; check its task limit")
}

/// Cancels `shutdown` at the first SIGTERM or SIGINT and tells the parent when it is cancelled for any reason.
fn stop_on_signal(shutdown: CancellationToken, status: StatusBoard) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: finishing what runs"),
            _ = interrupt.recv() => tracing::info!("SIGINT: finishing what runs"),
            () = shutdown.cancelled() => tracing::info!("asked to stop: finishing what runs"),
        }
        status.drain();
        Notifier::new().stopping();
        shutdown.cancel();
    })
}
