//! The state machine of one supervised process.
//!
//! `Child::on` takes what happened and the time, and answers what to do; it never looks at a clock, a process or a
//! random number. The caller sends [`Event::Tick`] when [`Child::deadline`] has passed. Time is the duration since an
//! epoch of the caller's choice.

use std::collections::VecDeque;
use std::time::Duration;

use super::exit::{Cause, Exit};
use super::policy::Policy;

/// What happened to a child.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// The supervisor wants it to run.
    Start,
    /// It said READY.
    Ready,
    /// It said WATCHDOG.
    Ping,
    /// It ended, or could not be started. `jitter` is a fresh random fraction of 0..=1 for the delay that follows.
    Exited {
        /// How it ended.
        exit: Exit,
        /// Spreads the restart.
        jitter: f64,
        /// The kernel killed it for want of memory.
        out_of_memory: bool,
    },
    /// A deadline may have passed.
    Tick,
    /// The supervisor wants it to stop.
    Stop,
    /// The operator changed something (SIGHUP): try again what was given up.
    Reload,
    /// The operator wants another incarnation, without blame for this one. `kill`: do not wait for it to finish its work.
    Restart {
        /// SIGKILL instead of a drain.
        kill: bool,
    },
}

/// What to do to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start the process.
    Spawn,
    /// Ask the process to drain (SIGTERM).
    Terminate,
    /// End a process that hangs, with a core or a backtrace (SIGABRT).
    Abort,
    /// End the whole process group (SIGKILL).
    Kill,
}

/// Where a child is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No process, and none wanted.
    Stopped,
    /// Spawned, not READY yet.
    Starting,
    /// READY.
    Running,
    /// SIGABRT was sent; SIGKILL follows.
    Aborting,
    /// SIGKILL was sent; only the exit is missing.
    Killing,
    /// SIGTERM was sent, on the way to `Stopped` or to the next incarnation.
    Stopping,
    /// No process; waiting for the next start.
    Backoff,
    /// No process; a restart cannot help until the operator changes something.
    Blocked,
}

/// One supervised process.
#[derive(Debug, Clone)]
pub struct Child {
    policy: Policy,
    phase: Phase,
    /// When the phase ends by itself. `None`: it does not.
    deadline: Option<Duration>,
    ready_since: Option<Duration>,
    wanted: bool,
    /// Why the current kill was started, for the exit that it leads to.
    killed_for: Option<Cause>,
    /// Restarts without a stable period between them.
    attempt: u32,
    /// Times of the recent restarts, at most `restart_max + 1` of them.
    recent: VecDeque<Duration>,
    /// Stays set until a stable period or a reload, although the long delays empty `recent`.
    failing: bool,
    restarts: u64,
    last_exit: Option<(Exit, Cause)>,
}

impl Child {
    /// A child that is not started yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            phase: Phase::Stopped,
            deadline: None,
            ready_since: None,
            wanted: false,
            killed_for: None,
            attempt: 0,
            recent: VecDeque::new(),
            failing: false,
            restarts: 0,
            last_exit: None,
        }
    }

    /// Where the child is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When [`Event::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Restarts since the supervisor started.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The end of the previous incarnation.
    #[must_use]
    pub fn last_exit(&self) -> Option<(Exit, Cause)> {
        self.last_exit
    }

    /// True when it restarted too often in the window; every delay is the longest one then.
    #[must_use]
    pub fn failing(&self) -> bool {
        self.failing
    }

    /// True while a process exists.
    #[must_use]
    pub fn alive(&self) -> bool {
        matches!(
            self.phase,
            Phase::Starting | Phase::Running | Phase::Aborting | Phase::Killing | Phase::Stopping
        )
    }

    /// Takes an event and answers what to do about it, in order.
    pub fn on(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Start => self.start(now),
            Event::Ready => self.ready(now),
            Event::Ping => self.ping(now),
            Event::Exited {
                exit,
                jitter,
                out_of_memory,
            } => self.exited(exit, out_of_memory, jitter, now),
            Event::Tick => self.tick(now),
            Event::Stop => self.stop(now),
            Event::Reload => self.reload(now),
            Event::Restart { kill } => self.restart(kill, now),
        }
    }

    /// Other numbers from now on; a deadline that runs stays as it is.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    fn start(&mut self, now: Duration) -> Vec<Action> {
        self.wanted = true;
        match self.phase {
            Phase::Stopped => self.spawn(now),
            _ => Vec::new(),
        }
    }

    fn ready(&mut self, now: Duration) -> Vec<Action> {
        if self.phase == Phase::Starting {
            self.ready_since = Some(now);
            self.enter(Phase::Running, Some(now + self.policy.watchdog));
        }
        Vec::new()
    }

    fn ping(&mut self, now: Duration) -> Vec<Action> {
        if self.phase == Phase::Running {
            self.deadline = Some(now + self.policy.watchdog);
        }
        Vec::new()
    }

    fn tick(&mut self, now: Duration) -> Vec<Action> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match self.phase {
            Phase::Backoff => self.respawn(now),
            Phase::Starting => {
                self.killed_for = Some(Cause::StartTimeout);
                self.enter(Phase::Killing, None);
                vec![Action::Kill]
            }
            Phase::Running => {
                self.killed_for = Some(Cause::Watchdog);
                self.enter(Phase::Aborting, Some(now + self.policy.abort_grace));
                vec![Action::Abort]
            }
            Phase::Aborting | Phase::Stopping => {
                self.enter(Phase::Killing, None);
                vec![Action::Kill]
            }
            Phase::Stopped | Phase::Killing | Phase::Blocked => Vec::new(),
        }
    }

    fn stop(&mut self, now: Duration) -> Vec<Action> {
        self.wanted = false;
        match self.phase {
            Phase::Starting | Phase::Running => {
                self.killed_for = Some(Cause::Stop);
                self.enter(Phase::Stopping, Some(now + self.policy.drain_timeout));
                vec![Action::Terminate]
            }
            Phase::Backoff | Phase::Blocked => {
                self.enter(Phase::Stopped, None);
                Vec::new()
            }
            // A kill that is under way ends in `Stopped`, because nothing is wanted any more.
            Phase::Stopped | Phase::Aborting | Phase::Killing | Phase::Stopping => Vec::new(),
        }
    }

    fn reload(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Blocked | Phase::Backoff if self.wanted => {
                self.forgive();
                self.respawn(now)
            }
            _ => Vec::new(),
        }
    }

    fn restart(&mut self, kill: bool, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Blocked | Phase::Backoff => self.reload(now),
            Phase::Starting | Phase::Running if kill => {
                self.killed_for = Some(Cause::Restart);
                self.enter(Phase::Killing, None);
                vec![Action::Kill]
            }
            Phase::Starting | Phase::Running => {
                self.killed_for = Some(Cause::Restart);
                self.enter(Phase::Stopping, Some(now + self.policy.drain_timeout));
                vec![Action::Terminate]
            }
            // Nothing is wanted, or the end is near anyway.
            Phase::Stopped | Phase::Aborting | Phase::Killing | Phase::Stopping => Vec::new(),
        }
    }

    fn exited(&mut self, exit: Exit, out_of_memory: bool, jitter: f64, now: Duration) -> Vec<Action> {
        if !self.alive() {
            return Vec::new();
        }
        let cause = match (self.killed_for.take(), exit) {
            (Some(cause), _) => cause,
            (None, Exit::NotStarted) => Cause::Spawn,
            (None, exit) if exit.blocks() => Cause::Blocked,
            (None, _) if out_of_memory => Cause::MemoryLimit,
            (None, _) => Cause::Crash,
        };
        self.last_exit = Some((exit, cause));
        if self
            .ready_since
            .take()
            .is_some_and(|since| now.saturating_sub(since) >= self.policy.stable_after)
        {
            self.forgive();
        }
        if !self.wanted {
            self.enter(Phase::Stopped, None);
        } else if cause == Cause::Blocked {
            self.enter(Phase::Blocked, None);
        } else if cause == Cause::Restart {
            // It was no failure, so it counts for none and the next tick starts it.
            self.enter(Phase::Backoff, Some(now));
        } else {
            self.back_off(jitter, now);
        }
        // Whatever the process left behind in its group must not outlive it.
        if exit == Exit::NotStarted {
            Vec::new()
        } else {
            vec![Action::Kill]
        }
    }

    fn back_off(&mut self, jitter: f64, now: Duration) {
        self.recent.push_back(now);
        while self
            .recent
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > self.policy.restart_window)
            || self.recent.len() > self.policy.restart_max as usize + 1
        {
            self.recent.pop_front();
        }
        self.failing |= self.recent.len() > self.policy.restart_max as usize;
        let delay = if self.failing {
            self.policy.backoff.longest(jitter)
        } else {
            self.policy.backoff.delay(self.attempt, jitter)
        };
        self.attempt = self.attempt.saturating_add(1);
        self.enter(Phase::Backoff, Some(now + delay));
    }

    fn forgive(&mut self) {
        self.attempt = 0;
        self.recent.clear();
        self.failing = false;
    }

    fn respawn(&mut self, now: Duration) -> Vec<Action> {
        self.restarts += 1;
        self.spawn(now)
    }

    fn spawn(&mut self, now: Duration) -> Vec<Action> {
        self.killed_for = None;
        self.enter(Phase::Starting, Some(now + self.policy.start_timeout));
        vec![Action::Spawn]
    }

    fn enter(&mut self, phase: Phase, deadline: Option<Duration>) {
        self.phase = phase;
        self.deadline = deadline;
    }
}
