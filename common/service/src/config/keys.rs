//! The one table of all configuration keys. The loader, the environment names, the flags, `--help`, the unknown-key hints and the
//! redacted view are all made from it.

use super::dormant;
use super::kind::Kind;
use crate::ProcessName;

/// A key, or a family of keys: `*` stands for one segment that the user names.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The dotted path below `[wavs]`.
    pub path: &'static str,
    /// The type of the value.
    pub kind: Kind,
    /// The built-in value as text; `None` is "not set".
    pub default: Option<&'static str>,
    /// Whether there is a command line flag.
    pub flag: bool,
    /// One line for `--help`.
    pub help: &'static str,
}

impl Key {
    /// The help, which says so where the key has no effect.
    #[must_use]
    pub fn meaning(&self) -> String {
        let note = if has_effect(self.path) {
            ""
        } else {
            " (no effect in this version)"
        };
        format!("{}{note}", self.help)
    }
}

const MAX: u64 = u64::MAX;
const U32: u64 = u32::MAX as u64;
/// Upper bound of sizes and seconds: large enough for any use, small enough that arithmetic cannot overflow.
const BIG: u64 = 1 << 42;
const ANY: Kind = Kind::Number(0, MAX);
const COUNT: Kind = Kind::Number(1, BIG);
const AMOUNT: Kind = Kind::Number(0, BIG);
const SMALL: Kind = Kind::Number(0, U32);
const PORT: Kind = Kind::Number(0, 65_535);

/// A key with a flag.
const fn flag(path: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key {
        path,
        kind,
        default: Some(default),
        flag: true,
        help,
    }
}

/// A key with a flag that has no built-in value.
const fn flag_unset(path: &'static str, kind: Kind, help: &'static str) -> Key {
    Key {
        path,
        kind,
        default: None,
        flag: true,
        help,
    }
}

/// A key for the file and the environment.
const fn file(path: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key {
        path,
        kind,
        default: Some(default),
        flag: false,
        help,
    }
}

/// A key for the file and the environment that has no built-in value.
const fn file_unset(path: &'static str, kind: Kind, help: &'static str) -> Key {
    Key {
        path,
        kind,
        default: None,
        flag: false,
        help,
    }
}

/// All keys. The first ones, up to `hyperswarm_bootstrap`, are those of the reference node in the order of its configuration view.
#[rustfmt::skip] // One line for each key: this is a table to be read.
pub const KEYS: &[Key] = &[
    flag("port", PORT, "8000", "Port of the HTTP API; 0 is any free port, which is printed"),
    flag("log_level", Kind::List, "info", "Log filter directives, such as info or wavs_engine=debug"),
    flag("host", Kind::Text, "127.0.0.1", "Address that the HTTP API binds to"),
    flag_unset("data", Kind::Path, "Directory for all state [default: $STATE_DIRECTORY, else /var/wavs if writable, else ~/.local/share/wavs]"),
    flag("cors_allowed_origins", Kind::List, "", "Origins that browsers may call from"),
    flag("wasm_lru_size", Kind::Number(0, 4096), "20", "Compiled components kept in memory; 0 is 10"),
    file_unset("chains.*.*.*", Kind::Chain, "Chains by namespace and id"),
    flag_unset("signing_mnemonic", Kind::Credential, "Phrase of the signing keys; without it no service can be added"),
    flag_unset("aggregator_cosmos_credential", Kind::Credential, "Phrase that pays for transactions on Cosmos chains"),
    flag_unset("aggregator_evm_credential", Kind::Credential, "Phrase or 0x key that pays for transactions on EVM chains"),
    flag("max_wasm_fuel", ANY, "18446744073709551615", "Most fuel of one run; the largest number is no cap"),
    flag("max_execution_seconds", COUNT, "300", "Longest run, and the value for components without a limit"),
    flag_unset("jaeger", Kind::Url, "OTLP gRPC base for traces"),
    flag_unset("prometheus", Kind::Url, "OTLP base that metrics are pushed to"),
    flag("prometheus_push_interval_secs", COUNT, "30", "Seconds between two pushes of metrics"),
    flag("ipfs_gateway", Kind::List, "https://ipfs.io/ipfs/", "IPFS gateways in order of preference"),
    flag_unset("bearer_token", Kind::Credential, "Token that the HTTP API asks for"),
    flag("dev_endpoints_enabled", Kind::Flag, "false", "Serve the development routes"),
    flag("max_body_size_mb", Kind::Number(1, 4_096), "15", "Largest request body in MiB"),
    file("health_check_mode", Kind::Choice(&["bypass", "wait", "exit"]), "wait", "exit: do not start while a chain has no good endpoint; otherwise each chain is waited for by itself"),
    file("aggregator.burned_queue_ttl_secs", AMOUNT, "172800", "Life of a marker that an event is done"),
    file("p2p", Kind::Choice(&["disabled"]), "disabled", "Network of operators: \"disabled\", { local = … } or { remote = … }"),
    flag("jetstream_endpoint", Kind::Url, "wss://jetstream1.us-east.bsky.network/subscribe", "Jetstream server"),
    flag("jetstream_max_message_size", AMOUNT, "1048576", "Largest message asked of it; 0 is no cap"),
    flag_unset("hyperswarm_bootstrap", Kind::Text, "host:port of a hyperswarm node"),
    flag("disable_trigger_networking", Kind::Flag, "false", "No trigger source connects to anything"),
    flag("disable_submission_networking", Kind::Flag, "false", "Nothing is posted"),
    file("aggregate_only", Kind::Flag, "false", "Sign nothing, only aggregate"),
    file("allow_pending_chains", Kind::Flag, "false", "A service may name a chain that is not configured"),
    file("block_interval_catch_up", Kind::Choice(&["all", "last", "skip"]), "all", "Missed blocks of a block interval"),
    file("block_interval_fire_after_end", Kind::Flag, "true", "Fire once more when the end was passed while the node was down"),
    file("cron_misfire_policy", Kind::Choice(&["fire_all", "fire_last", "skip"]), "fire_all", "Missed times of a schedule"),
    file("cron_misfire_window_secs", AMOUNT, "60", "How late a schedule may fire"),
    file("jetstream_endpoints", Kind::List, "", "Jetstream servers in order of preference"),
    file("jetstream_rewind_secs", AMOUNT, "5", "How far a new connection reads back"),
    file("hypercore_start", Kind::Choice(&["beginning", "now"]), "beginning", "Where a new feed is read from"),
    file("http.max_concurrent", COUNT, "256", "Requests served at once"),
    file("http.max_json_body_kb", COUNT, "2048", "Largest JSON body in KiB"),
    file("http.header_timeout_secs", COUNT, "10", "Time for the head of a request"),
    file("http.handler_timeout_secs", COUNT, "30", "Time for an answer"),
    file("http.rate_read", SMALL, "100", "Reads per second and peer"),
    file("http.rate_write", SMALL, "10", "Writes per second and peer"),
    file("http.rate_limit_loopback", Kind::Flag, "false", "Limit loopback peers too"),
    file("http.sse_max", AMOUNT, "64", "Event streams at once"),
    file_unset("http.legacy_aggregator_port", PORT, "Port of the shim for clients of the old aggregator"),
    file("auth.open_reads", Kind::Choice(&["loopback", "always", "never"]), "loopback", "Who may read without a token"),
    file("auth.allowed_hosts", Kind::List, "", "Host values accepted beside the local ones"),
    file_unset("auth.tokens", Kind::Tables, "Further tokens: name, scope (read or full), value"),
    file_unset("auth.admin_socket", Kind::Path, "Socket for local administration [default: <data>/run/admin.sock]"),
    file("fetch.max_component_mb", COUNT, "64", "Largest component that is downloaded, in MiB"),
    file("fetch.timeout_secs", COUNT, "30", "Time for the download of a document; for a component the longest silence, and a quarter of the time for the whole"),
    file("fetch.allow_hosts", Kind::List, "", "Loopback and private targets that downloads may use"),
    file("fetch.allow_file", Kind::Flag, "false", "Read service documents from file:// URIs; components never are"),
    file("fetch.ipfs_verify", Kind::Choice(&["require", "prefer", "off"]), "prefer", "Check content from IPFS gateways"),
    file("services.recheck_secs", COUNT, "600", "How often the on-chain state of services is looked at"),
    file("services.data_retention_days", AMOUNT, "7", "Days that the data of a removed service is kept; 90 and more: until it is purged"),
    file("trigger.spool_max_entries", COUNT, "1000000", "Waiting triggers above which sources stop reading"),
    file("trigger.spool_max_mb", COUNT, "2048", "MiB of waiting triggers above which sources stop reading"),
    file_unset("engine.workers", COUNT, "Threads of each kind (for brief and for long runs) that guests run on; eight times as many guests, 16 to 256, may be under way at once [default: number of cores]"),
    file("engine.max_parallel_per_service", COUNT, "8", "Guests of one service that run at once; its further runs wait"),
    file("engine.queue_per_service", COUNT, "1024", "Runs of one service that wait"),
    file("engine.guest_memory_mb", Kind::Number(1, 4_096), "256", "Memory of one guest in MiB"),
    file("engine.table_elements", Kind::Number(1, 1_000_000), "100000", "Elements of one table of a guest, of 8 bytes each"),
    file("engine.core_instances", Kind::Number(1, 256), "64", "Core instances that a component may be made of"),
    file("engine.memories", Kind::Number(1, 256), "16", "Linear memories of one component; at most 4096 for all guests that may be under way at once"),
    file("engine.tables", Kind::Number(1, 64), "16", "Tables of one component"),
    file("engine.stack_kb", Kind::Number(64, 8_192), "512", "Stack of one guest in KiB"),
    file("engine.hostcall_mb", Kind::Number(1, 128), "32", "What one call of a guest to the host, or its result, may carry, in MiB"),
    file("engine.handles", Kind::Number(16, 100_000), "10000", "Resources that one run may hold"),
    file("engine.open_files", Kind::Number(0, 1_024), "256", "Open files, directories and streams of one run"),
    file("engine.sockets", Kind::Number(0, 256), "32", "Open sockets of one run"),
    file("engine.files_mb_per_service", AMOUNT, "1024", "Files of one service in MiB"),
    file("engine.files_per_service", Kind::Number(0, 1_000_000), "100000", "Files and directories of one service"),
    file("engine.kv_mb_per_service", AMOUNT, "256", "Key-value data of one service in MiB"),
    file("engine.response_max_mb", Kind::Number(1, 4), "4", "Largest responses of one run in MiB"),
    file("engine.results", Kind::Number(0, 1_024), "64", "Responses or actions of one run"),
    file("engine.http_requests", Kind::Number(0, 256), "32", "HTTP requests that one run may have under way at once"),
    file("engine.http_body_mb", AMOUNT, "64", "Largest body of an HTTP response to a guest, in MiB"),
    file("engine.http_headers_kb", Kind::Number(8, 256), "128", "Largest headers of an HTTP message from or to a guest, in KiB"),
    file("engine.http_connect_secs", Kind::Number(1, 3_600), "10", "Time for the connection of an HTTP request of a guest"),
    file("engine.http_silence_secs", Kind::Number(1, 3_600), "30", "Longest silence of a server before and within its HTTP response to a guest"),
    file("engine.log_line_kb", Kind::Number(1, 64), "8", "Longest log line of a guest in KiB; the rest is cut"),
    file("engine.log_lines_per_second", Kind::Number(0, 10_000), "100", "Log lines of one run in a second; further ones are dropped"),
    file("engine.log_kb_per_run", Kind::Number(0, 65_536), "256", "Log lines of one run in KiB; further ones are dropped"),
    file("engine.hard_timeout_secs", COUNT, "3600", "No run is longer; at most 4190, because the calls that wait for runs are bounded"),
    file("engine.http_allow_private", Kind::List, "", "Loopback and private targets that guests may use"),
    file_unset("engine.cache_dir", Kind::Path, "Where compiled components are kept [default: <data>/engine/aot]"),
    file("aggregator.collect_ttl_secs", AMOUNT, "86400", "How long signatures are collected"),
    file("aggregator.submit_ttl_secs", AMOUNT, "86400", "How long a submission is tried"),
    file("aggregator.max_open_events", COUNT, "10000", "Events of one service that may be open at once; its triggers wait beyond"),
    file("aggregator.own_input_grace_secs", AMOUNT, "2", "How long the own signature is waited for"),
    file("aggregator.stages", Kind::List, "1,1,1,2,2,4,rest", "Operators that submit in each stage"),
    file("aggregator.aggregator_run", Kind::Choice(&["per_digest", "per_signature"]), "per_digest", "How often the aggregator component runs"),
    file("aggregator.callback", Kind::Choice(&["terminal", "per_attempt"]), "terminal", "When the aggregator component is told"),
    file("aggregator.post_divergent", Kind::Flag, "false", "Post a quorum that differs from the own result"),
    file("aggregator.allow_unbound_inputs", Kind::Flag, "false", "Take part in events that cannot be derived here"),
    file("aggregator.hd_index", SMALL, "0", "Index of the posting key"),
    file_unset("service.*.collect_ttl_secs", AMOUNT, "Overrides aggregator.collect_ttl_secs"),
    file_unset("service.*.submit_ttl_secs", AMOUNT, "Overrides aggregator.submit_ttl_secs"),
    file_unset("service.*.max_open_events", COUNT, "Overrides aggregator.max_open_events"),
    file_unset("service.*.aggregator_run", Kind::Choice(&["per_digest", "per_signature"]), "Overrides aggregator.aggregator_run"),
    file_unset("service.*.callback", Kind::Choice(&["terminal", "per_attempt"]), "Overrides aggregator.callback"),
    file_unset("service.*.post_divergent", Kind::Flag, "Overrides aggregator.post_divergent"),
    file_unset("service.*.allow_unbound_inputs", Kind::Flag, "Overrides aggregator.allow_unbound_inputs"),
    file_unset("service.*.schedule_key", Kind::Credential, "Key that orders the submissions"),
    file("service.*.kv_mode", Kind::Choice(&["immediate", "transactional"]), "immediate", "When guest key-value writes become durable"),
    file("service.*.deterministic", Kind::Flag, "false", "Equal input gives equal output"),
    file("service.*.ordered", Kind::List, "", "Workflows that are submitted in order"),
    file("grants.env_default", Kind::Choice(&["declared", "granted"]), "declared", "Variables that a service sees without a grant"),
    file("grants.*.env", Kind::List, "", "Variables that the service may see"),
    file("grants.*.http_hosts", Kind::List, "", "Loopback and private targets that guests of the service may use, beside engine.http_allow_private; the document must allow the host too"),
    file("grants.*.raw_sockets", Kind::Flag, "false", "Raw sockets may bind and listen"),
    file_unset("grants.*.chains", Kind::List, "Chains that the service sees; unset is all"),
    file_unset("grants.*.max_fuel", ANY, "Replaces max_wasm_fuel"),
    file_unset("grants.*.max_seconds", COUNT, "Replaces max_execution_seconds"),
    file_unset("component_env.*", Kind::Credential, "Values of WAVS_ENV* variables for components"),
    file("jobs.retention_days", AMOUNT, "7", "Days that finished jobs are kept"),
    file("jobs.max_stored", COUNT, "1000000", "Most jobs stored; half of them may wait: beyond it the service with the most gives up its last ones, a lone one is held back"),
    file("jobs.max_queue", COUNT, "4096", "Jobs that wait in memory; beyond it they wait on disk"),
    file("jobs.retry_max", SMALL, "5", "Retries after faults of this machine"),
    file("ready.max_lag_blocks", AMOUNT, "64", "Blocks that a chain may be behind"),
    file("telemetry.log_format", Kind::Choice(&["text", "json"]), "text", "Form of a log line"),
    file_unset("telemetry.log_file", Kind::Path, "File for log lines"),
    file("telemetry.trace_sample_ratio", Kind::Float, "1.0", "Share of the jobs that are traced"),
    file_unset("telemetry.metrics_listen", Kind::Text, "host:port that serves /metrics only"),
    file_unset("process.*.memory_max_mb", COUNT, "Most memory of the process in MiB"),
    file_unset("process.*.cpu_quota", Kind::Float, "Most CPU of the process; 1.0 is one core"),
    file("process.*.restart_max", SMALL, "5", "Restarts within 60 s before the process counts as failing"),
    file(
        "process.*.restart_delay_max_ms",
        Kind::Number(250, BIG),
        "30000",
        "Longest wait before a restart; the first one waits 250 ms",
    ),
    file_unset("process.*.log_level", Kind::List, "Log filter of the process"),
    file("process.*.sandbox", Kind::Choice(&["strict", "available"]), "strict", "Start only with all protections, or with those that the kernel has"),
    file("process.*.enabled", Kind::Flag, "true", "Whether the process runs"),
    file("process.*.worker_threads", Kind::Number(1, 256), "2", "Threads that serve calls"),
    file("p2p_bridge.services", Kind::List, "", "Services that are bridged to nodes of generation 1; \"*\" is all, empty is off"),
    file_unset("p2p_bridge.listen_port", PORT, "TCP port of the bridge; unset: any free one"),
    file("p2p_bridge.bootstrap_nodes", Kind::List, "", "Nodes of generation 1 that the bridge connects to, as multiaddresses"),
    file("p2p_bridge.relay", Kind::Flag, "false", "Whether the bridge sends on what other operators signed"),
    file_unset("p2p.*.listen_port", PORT, "TCP and UDP port"),
    file_unset("p2p.*.listen_address", Kind::Text, "Address to bind"),
    file("p2p.*.external_addresses", Kind::List, "", "Addresses that peers are told"),
    file("p2p.*.static_peers", Kind::List, "", "Peers that are always connected to, as multiaddresses"),
    file("p2p.*.allow_peers", Kind::List, "", "Peers that may connect; empty is all"),
    file_unset("p2p.*.identity", Kind::Credential, "Network identity; unset: made once and kept"),
    file("p2p.*.bootstrap_nodes", Kind::List, "", "Where the table of peers is entered"),
    file("p2p.*.kademlia_discovery_interval_secs", COUNT, "60", "Time between two searches for peers"),
    file("p2p.*.max_retry_duration_secs", AMOUNT, "10", "How long a publication without peers is tried"),
    file("p2p.*.retry_interval_ms", COUNT, "200", "Time between two tries"),
    file("p2p.*.submission_ttl_secs", AMOUNT, "300", "Life of a record of another operator"),
    file("p2p.*.max_catchup_submissions", AMOUNT, "100", "Most records in one catch-up answer"),
    file("p2p.*.cleanup_interval_secs", COUNT, "60", "Time between two removals of what is expired"),
    file("p2p.*.max_pending_publishes", AMOUNT, "1000", "Most publications that wait for peers"),
    file("p2p.*.max_stored_submissions_per_service", AMOUNT, "500", "Most records stored for one service"),
    file("p2p.*.catchup_request_timeout_secs", COUNT, "30", "Time for one catch-up answer"),
    file("p2p.*.max_concurrent_catchup_requests_per_service", COUNT, "3", "Catch-up requests of one service at once"),
];

/// The built-in value of a key that is a number; 0 for any other.
pub(crate) fn built_in_number(path: &str) -> u64 {
    let key = KEYS.iter().find(|key| key.path == path);
    key.and_then(|key| key.default?.parse().ok()).unwrap_or_default()
}

/// Whether this version does anything with the key of that dotted path.
#[must_use]
pub fn has_effect(path: &str) -> bool {
    !dormant::contains(&path.split('.').collect::<Vec<_>>())
}

/// The key or family that `path` belongs to. A name spelled out wins over `*`, which stands for any name, but that of a process has
/// to be one.
pub(crate) fn find<S: AsRef<str>>(path: &[S]) -> Option<&'static Key> {
    let fits = |key: &&Key| {
        let mut segments = key.path.split('.');
        path.iter().all(|name| {
            segments
                .next()
                .is_some_and(|segment| segment == "*" || segment == name.as_ref())
        }) && segments.next().is_none()
    };
    if path.first().is_some_and(|name| name.as_ref() == "process") {
        let name = path.get(1).map(S::as_ref);
        ProcessName::ALL.iter().find(|process| Some(process.short()) == name)?;
    }
    KEYS.iter().filter(fits).min_by_key(|key| key.path.matches('*').count())
}
