//! The rim of supervision: owns the children, their timers and their descriptors, and does what the state machine says.
//!
//! Everything that happens to a child arrives on one bounded channel, tagged with its incarnation, so that news of a dead
//! process never reaches its successor. The loop runs on the caller's task; see [`super::spawn::spawn`] for why.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::SystemTime;

use nix::sys::signal::Signal;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use wavs_service::sandbox::Limits;

use super::cgroup::GroupLimits;
use super::child::{Action, Event};
use super::exit::{Cause, Exit};
use super::group::Group;
use super::logs::{Dropped, LogSink};
use super::notify::{Notice, NotifySocket};
use super::policy::Policy;
use super::snapshot::{LastExit, ProcessState, Snapshot};
use super::spawn::{Spawned, signal_group, spawn};
use super::spec::ChildSpec;

/// News of children that wait for the loop. A full channel makes the reporting task wait, which delays only its child.
const NEWS: usize = 64;

/// Orders that wait for the loop. Whoever gives one waits for room, so nothing is lost.
const ORDERS: usize = 8;

/// What the operator wants of the processes.
#[derive(Debug)]
pub enum Order {
    /// A new configuration: takes over the renewals (without one a child keeps what it has), then starts what was blocked or waits.
    Reload(Vec<Renewal>),
    /// Another incarnation of the child of this name.
    Restart {
        /// The name, such as `engine-svc`.
        name: &'static str,
        /// Kill it instead of letting it finish its work.
        kill: bool,
    },
}

/// What is new for one child.
#[derive(Debug)]
pub struct Renewal {
    /// The child's name; there may be none with it, which is fine.
    pub name: &'static str,
    /// The configuration document for its next start.
    pub config: File,
    /// The limits of its next start.
    pub limits: Limits,
    /// The limits of its control group, from now on.
    pub group: GroupLimits,
    /// Its timing from now on.
    pub policy: Policy,
    /// Whether it has to be restarted for the new document to count.
    pub restart: bool,
}

/// The way to give orders, and its other end for [`Runner::run`].
#[must_use]
pub fn orders() -> (mpsc::Sender<Order>, mpsc::Receiver<Order>) {
    mpsc::channel(ORDERS)
}

/// Supervises processes until `shutdown`, then stops them in the order of the specs.
#[derive(Debug)]
pub struct Runner {
    group: Group,
    slots: Vec<Slot>,
    epoch: Instant,
    sink: LogSink,
    news: mpsc::Sender<News>,
    inbox: mpsc::Receiver<News>,
    snapshots: watch::Sender<Vec<Snapshot>>,
}

/// One child and what exists of it.
#[derive(Debug)]
struct Slot {
    spec: ChildSpec,
    /// Counts spawns, so that late news can be told apart.
    incarnation: u64,
    pid: Option<u32>,
    /// Hears the readiness socket; ended with the process.
    listener: Option<JoinHandle<()>>,
    started_at: Option<SystemTime>,
    last_exit: Option<LastExit>,
    restart_causes: BTreeMap<&'static str, u64>,
    heartbeat: Option<Instant>,
    status: Option<String>,
    dropped: Dropped,
}

#[derive(Debug)]
struct News {
    index: usize,
    incarnation: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Said(Notice),
    Exited(Exit),
}

impl Runner {
    /// Prepares the children, in stop order. Nothing is spawned yet.
    #[must_use]
    pub fn new(specs: Vec<ChildSpec>, sink: LogSink) -> Self {
        let (news, inbox) = mpsc::channel(NEWS);
        let group = Group::new(specs.iter().map(|spec| spec.policy));
        let slots: Vec<Slot> = specs.into_iter().map(Slot::new).collect();
        let runner = Self {
            group,
            slots,
            epoch: Instant::now(),
            sink,
            news,
            inbox,
            snapshots: watch::Sender::new(Vec::new()),
        };
        runner.publish();
        runner
    }

    /// The processes as they are, updated with every change.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Vec<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Runs until `shutdown` is cancelled and every process has ended. Follows `orders` until then.
    pub async fn run(mut self, shutdown: CancellationToken, mut orders: mpsc::Receiver<Order>) {
        let actions = self.group.start(self.now());
        self.perform(actions);
        while !self.group.finished() {
            let deadline = self.group.deadline().map(|after| self.epoch + after);
            tokio::select! {
                Some(news) = self.inbox.recv() => self.hear(news),
                () = wait_until(deadline) => {
                    let actions = self.group.all(Event::Tick, self.now());
                    self.perform(actions);
                }
                () = shutdown.cancelled(), if !self.group.stopping() => {
                    let actions = self.group.stop(self.now());
                    self.perform(actions);
                }
                Some(order) = orders.recv(), if !self.group.stopping() => self.follow(order),
            }
            self.publish();
        }
    }

    fn now(&self) -> std::time::Duration {
        self.epoch.elapsed()
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Reload(renewals) => self.reload(renewals),
            Order::Restart { name, kill } => {
                if let Some(index) = self.index_of(name) {
                    tracing::info!(process = name, kill, "a restart was asked for");
                    self.tell(index, Event::Restart { kill });
                }
            }
        }
    }

    fn reload(&mut self, renewals: Vec<Renewal>) {
        // What is down anyway is started once, with its new document.
        let mut restarts = Vec::new();
        for renewal in renewals {
            let Some(index) = self.index_of(renewal.name) else {
                continue;
            };
            let spec = &mut self.slots[index].spec;
            spec.config = Some(renewal.config);
            spec.jail.limits = Limits {
                // A control group bounds memory better.
                data: renewal.limits.data.filter(|_| spec.cgroup.is_none()),
                ..renewal.limits
            };
            spec.policy = renewal.policy;
            if let Some(Err(error)) = spec.cgroup.as_ref().map(|group| group.set(renewal.group)) {
                tracing::warn!(process = spec.name, %error, "the new limits of the control group are not in force");
            }
            self.group.set_policy(index, renewal.policy);
            if renewal.restart && self.group.children()[index].alive() {
                restarts.push(index);
            }
        }
        let actions = self.group.all(Event::Reload, self.now());
        self.perform(actions);
        for index in restarts {
            tracing::info!(
                process = self.slots[index].spec.name,
                "is restarted with its new configuration"
            );
            self.tell(index, Event::Restart { kill: false });
        }
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.spec.name == name)
    }

    fn tell(&mut self, index: usize, event: Event) {
        let actions = self.group.on(index, event, self.now());
        self.perform(actions);
    }

    fn hear(&mut self, news: News) {
        let Some(slot) = self
            .slots
            .get_mut(news.index)
            .filter(|slot| slot.incarnation == news.incarnation)
        else {
            return;
        };
        let now = Instant::now();
        let event = match news.what {
            What::Said(Notice::Ready) => {
                slot.heartbeat = Some(now);
                tracing::info!(process = slot.spec.name, pid = slot.pid, "ready");
                Event::Ready
            }
            What::Said(Notice::Ping) => {
                slot.heartbeat = Some(now);
                Event::Ping
            }
            What::Said(Notice::Status(status)) => {
                slot.status = Some(status);
                return;
            }
            What::Said(Notice::Stopping) => return,
            What::Exited(exit) => return self.ended(news.index, exit),
        };
        let actions = self.group.on(news.index, event, self.now());
        self.perform(actions);
    }

    fn ended(&mut self, index: usize, exit: Exit) {
        let pid = self.slots[index].pid;
        let event = Event::Exited {
            exit,
            jitter: rand::random(),
            out_of_memory: self.slots[index].spec.out_of_memory(),
        };
        let actions = self.group.on(index, event, self.now());
        // The group outlives its leader until its last member is gone.
        self.perform(actions);
        let child = &self.group.children()[index];
        let state = ProcessState::of(child);
        let slot = &mut self.slots[index];
        // A restart inside `perform` is impossible: every end leads to a wait or to a stop.
        slot.pid = None;
        slot.heartbeat = None;
        slot.status = None;
        if let Some(listener) = slot.listener.take() {
            listener.abort();
        }
        if let Some((exit, cause)) = child.last_exit() {
            slot.last_exit = Some(LastExit {
                at: SystemTime::now(),
                exit,
                cause,
            });
            let name = slot.spec.name;
            let asked = cause == Cause::Restart;
            let (cause, state) = (cause.as_str(), state.as_str());
            match ProcessState::of(child) {
                ProcessState::Disabled => tracing::info!(process = name, pid, %exit, "stopped"),
                ProcessState::Blocked => tracing::error!(
                    process = name,
                    pid,
                    %exit,
                    "cannot run as it is configured; its last log lines say why. Correct the cause, then send SIGHUP to this process"
                ),
                _ if asked => tracing::info!(process = name, pid, %exit, "ended; the next one starts"),
                ProcessState::Failing => {
                    tracing::error!(process = name, pid, %exit, cause, state, "ended again; it fails too often");
                }
                _ => {
                    tracing::warn!(process = name, pid, %exit, cause, state, "ended; it is restarted");
                }
            }
        }
    }

    fn perform(&mut self, actions: Vec<(usize, Action)>) {
        for (index, action) in actions {
            let slot = &mut self.slots[index];
            match (action, slot.pid) {
                (Action::Spawn, _) => self.spawn(index),
                (Action::Terminate, Some(pid)) => signal_leader(pid, Signal::SIGTERM),
                (Action::Abort, Some(pid)) => {
                    tracing::error!(
                        process = slot.spec.name,
                        pid,
                        "hangs: no sign of progress in time; it is killed"
                    );
                    signal_group(pid, Signal::SIGABRT);
                }
                (Action::Kill, Some(pid)) => signal_group(pid, Signal::SIGKILL),
                (Action::Terminate | Action::Abort | Action::Kill, None) => {}
            }
        }
    }

    fn spawn(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.incarnation += 1;
        if let Some(last) = &slot.last_exit {
            *slot.restart_causes.entry(last.cause.as_str()).or_default() += 1;
        }
        let report = Reporter {
            index,
            incarnation: slot.incarnation,
            news: self.news.clone(),
        };
        match spawn(&slot.spec) {
            Ok(Spawned {
                mut process,
                notify,
                pid,
            }) => {
                slot.pid = Some(pid);
                slot.started_at = Some(SystemTime::now());
                if let Some(stderr) = process.stderr.take() {
                    tokio::spawn(self.sink.clone().forward(slot.spec.name, stderr, slot.dropped.clone()));
                }
                slot.listener = Some(tokio::spawn(listen(notify, report.clone())));
                tokio::spawn(async move {
                    let exit = process.wait().await.map_or(Exit::NotStarted, Exit::from);
                    report.send(What::Exited(exit)).await;
                });
            }
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                tracing::error!(process = slot.spec.name, cause, "{error}");
                // Answered through the channel, so that a spawn never recurses into another one.
                tokio::spawn(async move { report.send(What::Exited(Exit::NotStarted)).await });
            }
        }
    }

    fn publish(&self) {
        let snapshots = self
            .slots
            .iter()
            .zip(self.group.children())
            .map(|(slot, child)| Snapshot {
                name: slot.spec.name,
                state: ProcessState::of(child),
                pid: slot.pid,
                started_at: slot.pid.and(slot.started_at),
                restarts: child.restarts(),
                restart_causes: slot.restart_causes.clone(),
                last_exit: slot.last_exit,
                heartbeat: slot.heartbeat,
                status: slot.status.clone(),
                log_lines_dropped: slot.dropped.count(),
            });
        self.snapshots.send_replace(snapshots.collect());
    }
}

impl Slot {
    fn new(spec: ChildSpec) -> Self {
        Self {
            spec,
            incarnation: 0,
            pid: None,
            listener: None,
            started_at: None,
            last_exit: None,
            restart_causes: BTreeMap::new(),
            heartbeat: None,
            status: None,
            dropped: Dropped::default(),
        }
    }
}

#[derive(Debug, Clone)]
struct Reporter {
    index: usize,
    incarnation: u64,
    news: mpsc::Sender<News>,
}

impl Reporter {
    /// The loop is gone only when everything stops; then nobody needs the news.
    async fn send(&self, what: What) {
        let _ = self
            .news
            .send(News {
                index: self.index,
                incarnation: self.incarnation,
                what,
            })
            .await;
    }
}

async fn listen(socket: NotifySocket, report: Reporter) {
    while let Ok(notices) = socket.recv().await {
        for notice in notices {
            report.send(What::Said(notice)).await;
        }
    }
}

fn signal_leader(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
