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
use crate::supervise::policy::Policy;
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

/// The processes to supervise, in stop order, with their sockets bound.
///
/// # Errors
/// When a program is missing, a socket cannot be bound or a document cannot be written.
pub fn children(node: &NodeConfig) -> anyhow::Result<Vec<ChildSpec>> {
    let shim = std::env::current_exe().context("cannot find the path of this program")?;
    enabled(node).map(|process| child(process, node, &shim)).collect()
}

/// The configuration documents of the same processes, for a reload.
///
/// # Errors
/// When one cannot be written.
pub fn documents(node: &NodeConfig) -> Result<Vec<Option<File>>, HandoverError> {
    enabled(node).map(|process| document(process, node).map(Some)).collect()
}

fn enabled(node: &NodeConfig) -> impl Iterator<Item = ProcessName> {
    STOP_ORDER
        .into_iter()
        .filter(|process| node.processes.get(process).is_none_or(|limits| limits.enabled))
}

fn child(process: ProcessName, node: &NodeConfig, shim: &Path) -> anyhow::Result<ChildSpec> {
    let path = std::env::var_os("PATH");
    let program = programs::find(process.binary(), shim.parent(), path.as_deref())?;
    let bind = |path: PathBuf| socket::bind_fd(&path).with_context(|| format!("cannot open the sockets of {process}"));
    let ctl = process.ctl_socket(&node.data_dir);
    let run_dir = ctl.parent().map(Path::to_owned).unwrap_or_default();
    let mut sockets = vec![("ctl", bind(ctl)?)];
    if process.has_rpc() {
        sockets.push(("rpc", bind(process.rpc_socket(&node.data_dir))?));
    }
    let mut policy = Policy::default();
    if let Some(limits) = node.processes.get(&process) {
        policy.restart_max = limits.restart_max;
        policy.backoff = policy.backoff.up_to(limits.restart_delay_max);
    }
    Ok(ChildSpec {
        name: process.full(),
        shim: shim.to_owned(),
        jail: Jail {
            program,
            arguments: Vec::new(),
            limits: Limits {
                open_files: open_files(),
                address_space: None,
            },
        },
        sockets,
        config: Some(document(process, node)?),
        run_dir,
        policy,
    })
}

fn open_files() -> Option<u64> {
    // Beyond the hard limit only root could go; the child then keeps what this process has.
    getrlimit(Resource::RLIMIT_NOFILE)
        .ok()
        .map(|(_, hard)| hard.min(OPEN_FILES))
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
    }
}
