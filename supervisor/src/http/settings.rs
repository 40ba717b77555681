//! What the API needs to know from the configuration, resolved once.

use std::time::Duration;

use axum::http::HeaderName;
use sha2::{Digest, Sha256};

use super::pattern::Pattern;

/// Settings of the HTTP API.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The host that was configured; accepted in `Host`.
    pub host: String,
    /// Whether `/dev/*` exists.
    pub dev_endpoints: bool,
    /// Largest body in bytes.
    pub max_body: u64,
    /// Largest JSON body in bytes.
    pub max_json: usize,
    /// Requests that run at a time; a further one is answered 503.
    pub max_concurrent: usize,
    /// Longest time of a request's headers; then the connection is closed.
    pub header_timeout: Duration,
    /// Longest time of a handler; then 504.
    pub handler_timeout: Duration,
    /// Who may read without a token.
    pub open_reads: OpenReads,
    /// The tokens.
    pub tokens: Vec<Token>,
    /// Further values of `Host`.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call.
    pub cors_allowed_origins: Vec<Pattern>,
    /// Blocks that a chain may be behind while the node is ready.
    pub max_lag_blocks: u64,
    /// How long the data of a removed service is kept.
    pub data_retention: Duration,
}

/// Who may read without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenReads {
    /// Peers on this machine.
    Loopback,
    /// Everyone.
    Always,
    /// Nobody.
    Never,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Reads, and asking for a signer.
    Read,
    /// Everything but what is for the admin socket.
    Full,
}

/// A token, by its hash: comparing hashes takes the same time for every wrong token, and the value is not kept.
#[derive(Debug, Clone)]
pub struct Token {
    digest: [u8; 32],
    scope: Scope,
}

/// Header that names a request in answers and logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Token {
    /// Remembers a token.
    #[must_use]
    pub fn new(value: &str, scope: Scope) -> Self {
        Self {
            digest: Sha256::digest(value.as_bytes()).into(),
            scope,
        }
    }
}

impl Settings {
    /// The scope of a token, if it is one of ours.
    #[must_use]
    pub fn scope_of(&self, value: &str) -> Option<Scope> {
        let digest: [u8; 32] = Sha256::digest(value.as_bytes()).into();
        self.tokens
            .iter()
            .find(|token| token.digest == digest)
            .map(|token| token.scope)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            dev_endpoints: false,
            max_body: 15 * 1024 * 1024,
            max_json: 2 * 1024 * 1024,
            max_concurrent: 256,
            header_timeout: Duration::from_secs(10),
            handler_timeout: Duration::from_secs(30),
            open_reads: OpenReads::Loopback,
            tokens: Vec::new(),
            allowed_hosts: Vec::new(),
            cors_allowed_origins: Vec::new(),
            max_lag_blocks: 64,
            data_retention: Duration::from_secs(7 * 86_400),
        }
    }
}
