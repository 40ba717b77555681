//! From the configuration to what runs: the children with their sockets and documents, and the settings of the API.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit};
use wavs_ipc::socket;
use wavs_service::config::{
    AggregatorConfig, EngineConfig, HttpConfig, NodeConfig, P2pConfig, TokenScope, TriggerConfig,
};
use wavs_service::handover::HandoverError;
use wavs_service::sandbox::{Jail, Limits};
use wavs_service::{Handover, ProcessName};

use crate::http::pattern::Pattern;
use crate::http::settings::{OpenReads, Scope, Settings, Token};
use crate::programs;
use crate::supervise::cgroup::{self, Group, GroupLimits, NotDelegated, Subtree};
use crate::supervise::policy::Policy;
use crate::supervise::runner::Renewal;
use crate::supervise::spec::ChildSpec;

/// The order in which processes stop: backwards along the flow of work, the one that pulls it first.
const STOP_ORDER: [ProcessName; 4] = [
    ProcessName::Aggregator,
    ProcessName::Trigger,
    ProcessName::P2p,
    ProcessName::Engine,
];

/// Descriptors that a child may open, as far as this process's own limit allows.
const OPEN_FILES: u64 = 16_384;
/// The same for engine-svc, whose guests open files and sockets too.
const ENGINE_OPEN_FILES: u64 = 131_072;

/// The processes to supervise, in stop order, with their sockets bound.
///
/// # Errors
/// When a program is missing, a socket cannot be bound or a document cannot be written.
pub fn children(node: &NodeConfig) -> anyhow::Result<Vec<ChildSpec>> {
    let shim = std::env::current_exe().context("cannot find the path of this program")?;
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let subtree = match Subtree::take(Path::new(cgroup::MOUNT), &own) {
        Ok(subtree) => Some(subtree),
        Err(reason) => {
            warn_without_groups(node, &reason);
            None
        }
    };
    enabled(node)
        .map(|process| child(process, node, &shim, subtree.as_ref()))
        .collect()
}

/// What is new for the same processes after a reload; those for which `restart` says so have to be restarted.
///
/// # Errors
/// When a document cannot be written.
pub fn renewals(node: &NodeConfig, restart: impl Fn(ProcessName) -> bool) -> Result<Vec<Renewal>, HandoverError> {
    let renewal = |process: ProcessName| {
        Ok(Renewal {
            name: process.full(),
            config: document(process, node)?,
            limits: limits(process, node, None),
            group: group_limits(process, node),
            policy: policy(process, node),
            restart: restart(process),
        })
    };
    enabled(node).map(renewal).collect()
}

/// One line for all that cannot be enforced.
fn warn_without_groups(node: &NodeConfig, reason: &NotDelegated) {
    let bounded: Vec<_> = enabled(node)
        .filter(|process| group_limits(*process, node) != GroupLimits::default())
        .map(ProcessName::short)
        .collect();
    if bounded.is_empty() {
        tracing::info!("no control groups for the processes: {reason}");
    } else {
        tracing::warn!(
            processes = bounded.join(", "),
            "process.*.memory_max_mb and cpu_quota are not enforced by the kernel: {reason}; memory of processes other than the engine is bounded by a resource limit instead"
        );
    }
}

fn group_limits(process: ProcessName, node: &NodeConfig) -> GroupLimits {
    let limits = node.processes.get(&process);
    GroupLimits {
        memory_max: limits.and_then(|limits| limits.memory_max_bytes),
        cpu_quota: limits.and_then(|limits| limits.cpu_quota),
    }
}

/// The resource limits. Memory is bounded here only where no control group does it, and never for the engine: its guests are
/// bounded one by one, and a failed allocation would end the runs of all.
fn limits(process: ProcessName, node: &NodeConfig, group: Option<&Group>) -> Limits {
    let memory = group_limits(process, node).memory_max;
    Limits {
        open_files: open_files(process),
        data: memory.filter(|_| group.is_none() && process != ProcessName::Engine),
    }
}

fn policy(process: ProcessName, node: &NodeConfig) -> Policy {
    let mut policy = Policy::default();
    if let Some(limits) = node.processes.get(&process) {
        policy.restart_max = limits.restart_max;
        policy.backoff = policy.backoff.up_to(limits.restart_delay_max);
    }
    policy
}

fn enabled(node: &NodeConfig) -> impl Iterator<Item = ProcessName> {
    STOP_ORDER
        .into_iter()
        .filter(|process| node.processes.get(process).is_none_or(|limits| limits.enabled))
}

fn child(process: ProcessName, node: &NodeConfig, shim: &Path, subtree: Option<&Subtree>) -> anyhow::Result<ChildSpec> {
    let path = std::env::var_os("PATH");
    let program = programs::find(process.binary(), shim.parent(), path.as_deref())?;
    let bind = |path: PathBuf| socket::bind_fd(&path).with_context(|| format!("cannot open the sockets of {process}"));
    let ctl = process.ctl_socket(&node.data_dir);
    let run_dir = ctl.parent().map(Path::to_owned).unwrap_or_default();
    let mut sockets = vec![("ctl", bind(ctl)?)];
    if process.has_rpc() {
        sockets.push(("rpc", bind(process.rpc_socket(&node.data_dir))?));
    }
    let cgroup = subtree
        .map(|subtree| subtree.group(process.full(), group_limits(process, node)))
        .transpose()
        .with_context(|| format!("cannot bound {process}"))?;
    Ok(ChildSpec {
        name: process.full(),
        shim: shim.to_owned(),
        jail: Jail {
            program,
            arguments: Vec::new(),
            limits: limits(process, node, cgroup.as_ref()),
            cgroup: cgroup.as_ref().map(Group::procs),
        },
        sockets,
        config: Some(document(process, node)?),
        run_dir,
        policy: policy(process, node),
        cgroup,
    })
}

fn open_files(process: ProcessName) -> Option<u64> {
    let most = match process {
        ProcessName::Engine => ENGINE_OPEN_FILES,
        _ => OPEN_FILES,
    };
    // Beyond the hard limit only root could go; the child then keeps what this process has.
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard.min(most))
}

/// Tells the part of one process from what it was before, but for its log level.
///
/// # Errors
/// When it has no serial form.
pub fn fingerprint(process: ProcessName, node: &NodeConfig) -> Result<u64, HandoverError> {
    match process {
        ProcessName::Trigger => Handover::<TriggerConfig>::of(node).fingerprint(),
        ProcessName::Engine => Handover::<EngineConfig>::of(node).fingerprint(),
        ProcessName::Aggregator => Handover::<AggregatorConfig>::of(node).fingerprint(),
        ProcessName::P2p => Handover::<P2pConfig>::of(node).fingerprint(),
    }
}

fn document(process: ProcessName, node: &NodeConfig) -> Result<File, HandoverError> {
    let descriptor = match process {
        ProcessName::Trigger => Handover::<TriggerConfig>::of(node).to_descriptor(),
        ProcessName::Engine => Handover::<EngineConfig>::of(node).to_descriptor(),
        ProcessName::Aggregator => Handover::<AggregatorConfig>::of(node).to_descriptor(),
        ProcessName::P2p => Handover::<P2pConfig>::of(node).to_descriptor(),
    };
    descriptor.map(File::from)
}

/// The settings of the API. Tokens are hashed here; their values are not kept.
#[must_use]
pub fn settings(http: &HttpConfig) -> Settings {
    use wavs_service::config::OpenReads as Configured;
    let full = http
        .bearer_token
        .iter()
        .map(|token| Token::new(token.expose_secret(), Scope::Full));
    let named = http.tokens.iter().map(|token| {
        let scope = match token.scope {
            TokenScope::Read => Scope::Read,
            TokenScope::Full => Scope::Full,
        };
        Token::new(token.value.expose_secret(), scope)
    });
    Settings {
        host: http.host.clone(),
        dev_endpoints: http.dev_endpoints,
        max_body: http.max_body_bytes,
        max_json: usize::try_from(http.max_json_body_bytes).unwrap_or(usize::MAX),
        max_concurrent: http.max_concurrent,
        header_timeout: http.header_timeout,
        handler_timeout: http.handler_timeout,
        open_reads: match http.open_reads {
            Configured::Loopback => OpenReads::Loopback,
            Configured::Always => OpenReads::Always,
            Configured::Never => OpenReads::Never,
        },
        tokens: full.chain(named).collect(),
        allowed_hosts: http.allowed_hosts.clone(),
        cors_allowed_origins: http
            .cors_allowed_origins
            .iter()
            .map(|text| Pattern::new(text))
            .collect(),
        max_lag_blocks: http.max_lag_blocks,
        data_retention: http.data_retention,
    }
}
