//! The part of the supervisor: its HTTP API.

use std::path::PathBuf;
use std::time::Duration;

use super::audience::Audience;
use super::error::ConfigError;
use super::values::Values;
use crate::secret::Secret;

/// How the API is served. It stays in the supervisor, so it has no serial form.
#[derive(Clone)]
pub struct HttpConfig {
    /// Address or name to bind.
    pub host: String,
    /// Port; 0 is any free one.
    pub port: u16,
    /// Origins that browsers may call from; `*` in a pattern matches any text.
    pub cors_allowed_origins: Vec<String>,
    /// The token with full rights.
    pub bearer_token: Option<Secret>,
    /// Further tokens.
    pub tokens: Vec<ApiToken>,
    /// Who may read without a token.
    pub open_reads: OpenReads,
    /// `Host` values that are accepted beside the local ones.
    pub allowed_hosts: Vec<String>,
    /// Socket for local administration.
    pub admin_socket: PathBuf,
    /// The development routes exist.
    pub dev_endpoints: bool,
    /// Largest body in bytes.
    pub max_body_bytes: u64,
    /// Largest JSON body in bytes.
    pub max_json_body_bytes: u64,
    /// Requests served at once.
    pub max_concurrent: usize,
    /// Time for the head of a request.
    pub header_timeout: Duration,
    /// Time for an answer.
    pub handler_timeout: Duration,
    /// Reads per second and peer.
    pub rate_read: u32,
    /// Writes per second and peer.
    pub rate_write: u32,
    /// Whether loopback peers are limited too.
    pub rate_limit_loopback: bool,
    /// Event streams at once.
    pub sse_max: usize,
    /// Blocks that a chain may be behind while the node is ready.
    pub max_lag_blocks: u64,
    /// How long the data of a removed service is kept.
    pub data_retention: Duration,
    /// What is checked before the start.
    pub health_check_mode: HealthCheckMode,
    /// Port of the shim for clients of the old aggregator.
    pub legacy_aggregator_port: Option<u16>,
}

/// A named token.
#[derive(Clone)]
pub struct ApiToken {
    /// For logs.
    pub name: String,
    /// What it allows.
    pub scope: TokenScope,
    /// The token.
    pub value: Secret,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenScope {
    /// Reads only.
    Read,
    /// Everything.
    Full,
}

/// Who may read without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenReads {
    /// Peers on this machine.
    Loopback,
    /// Everybody.
    Always,
    /// Nobody.
    Never,
}

/// What is checked before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheckMode {
    /// Nothing.
    Bypass,
    /// Wait for the chains and warn.
    Wait,
    /// Wait for the chains and end if one is bad.
    Exit,
}

impl HttpConfig {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        let admin_socket = values.optional_path("auth.admin_socket")?;
        let port = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
        Ok(Self {
            host: values.text("host")?,
            port: port(values.number("port")?),
            cors_allowed_origins: values.list("cors_allowed_origins")?,
            bearer_token: values.secret(Audience::Api, "bearer_token")?,
            tokens: tokens(values)?,
            open_reads: values.choice("auth.open_reads")?,
            allowed_hosts: values.list("auth.allowed_hosts")?,
            admin_socket: admin_socket.unwrap_or_else(|| values.data_dir().join("run").join("admin.sock")),
            dev_endpoints: values.flag("dev_endpoints_enabled")?,
            max_body_bytes: values.mebibytes("max_body_size_mb")?,
            max_json_body_bytes: values.number("http.max_json_body_kb")?.saturating_mul(1024),
            max_concurrent: values.size("http.max_concurrent")?,
            header_timeout: values.seconds("http.header_timeout_secs")?,
            handler_timeout: values.seconds("http.handler_timeout_secs")?,
            rate_read: values.small("http.rate_read")?,
            rate_write: values.small("http.rate_write")?,
            rate_limit_loopback: values.flag("http.rate_limit_loopback")?,
            sse_max: values.size("http.sse_max")?,
            max_lag_blocks: values.number("ready.max_lag_blocks")?,
            data_retention: values.days("services.data_retention_days")?,
            health_check_mode: values.choice("health_check_mode")?,
            legacy_aggregator_port: values.optional_number("http.legacy_aggregator_port")?.map(port),
        })
    }
}

fn tokens(values: &Values<'_>) -> Result<Vec<ApiToken>, ConfigError> {
    if !values.may_hold(Audience::Api) {
        return Ok(Vec::new());
    }
    let wrong = |index: usize, what: &str| values.wrong(&["auth", "tokens"], &format!("entry {}: {what}", index + 1));
    let mut tokens = Vec::new();
    for (index, entry) in values.tables("auth.tokens")?.iter().enumerate() {
        let member = |name: &str| entry.get(name).and_then(|value| value.as_str());
        let scope = entry
            .get("scope")
            .cloned()
            .and_then(|scope| serde_json::from_value(scope).ok());
        let text = member("value").ok_or_else(|| wrong(index, "value is missing or not a text"))?;
        tokens.push(ApiToken {
            name: member("name")
                .ok_or_else(|| wrong(index, "name is missing or not a text"))?
                .to_owned(),
            scope: scope.ok_or_else(|| wrong(index, "scope must be \"read\" or \"full\""))?,
            value: values.credential(&["auth", "tokens"], text)?,
        });
    }
    Ok(tokens)
}
