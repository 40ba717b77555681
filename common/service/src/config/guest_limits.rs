//! What the guests of all services may use, as far as it is the operator's choice.
//!
//! The table of keys has the numbers: the built-in ones, which are also [`GuestLimits::default`], and the largest, with which a node
//! full of guests that take all they may still has addresses left. What it then takes of memory is up to the operator.

use std::convert::Infallible;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::keys::built_in_number;
use super::values::Values;

/// Linear memories of all guests under way. Each reserves 4 GiB of addresses in each of three pools, of the 128 TiB that a process
/// has, and takes up to four of the 65,530 mappings that Linux gives it.
const ALL_MEMORIES: usize = 4_096;

/// Bounds on one run, on one component, or on what one service stores. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLimits {
    /// All linear memories of a run (`engine.guest_memory_mb`).
    pub memory: usize,
    /// Elements of a table (`engine.table_elements`).
    pub table_elements: usize,
    /// Core instances of a component (`engine.core_instances`).
    pub core_instances: u32,
    /// Linear memories of a component (`engine.memories`).
    pub memories: u32,
    /// Tables of a component (`engine.tables`).
    pub tables: u32,
    /// The stack of a run, without what the host needs on it (`engine.stack_kb`).
    pub stack: usize,
    /// One call to the host, or the result of the run (`engine.hostcall_mb`).
    pub hostcall: usize,
    /// Resources that a run holds (`engine.handles`).
    pub handles: usize,
    /// Open files and directories of a run, with the streams of all kinds that it holds (`engine.open_files`).
    pub open_files: usize,
    /// Open sockets of a run (`engine.sockets`).
    pub sockets: usize,
    /// All files of a service (`engine.files_mb_per_service`).
    pub files: u64,
    /// Files and directories of a service (`engine.files_per_service`).
    pub file_count: u64,
    /// All key-value data of a service (`engine.kv_mb_per_service`).
    pub kv: u64,
    /// All payloads of the responses of a run (`engine.response_max_mb`).
    pub response: usize,
    /// Responses or actions of a run (`engine.results`).
    pub results: usize,
    /// HTTP requests of a run under way (`engine.http_requests`).
    pub http_requests: usize,
    /// The body of an HTTP response (`engine.http_body_mb`).
    pub http_body: u64,
    /// The headers of an HTTP message (`engine.http_headers_kb`).
    pub http_headers: usize,
    /// Time for resolving, connecting and the TLS handshake (`engine.http_connect_secs`).
    pub http_connect: Duration,
    /// Time to the first byte of an HTTP response, and between two of its bytes (`engine.http_silence_secs`).
    pub http_silence: Duration,
    /// A log line; the rest is cut (`engine.log_line_kb`).
    pub log_line: usize,
    /// Log lines of a run in a second; further ones are dropped (`engine.log_lines_per_second`).
    pub log_lines_per_second: u32,
    /// All log lines of a run; further ones are dropped (`engine.log_kb_per_run`).
    pub log_bytes: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        let Ok(limits) = Self::of(|key| Ok::<_, Infallible>(built_in_number(key)));
        limits
    }
}

impl GuestLimits {
    /// The configured limits, for so many guests under way at once.
    pub(super) fn read(values: &Values<'_>, slots: usize) -> Result<Self, ConfigError> {
        let limits = Self::of(|key| values.number(key))?;
        let most = ALL_MEMORIES / slots.max(1);
        if limits.memories as usize > most {
            let detail = format!(
                "{} memories for each of {slots} guests are more than a process has addresses for: expected at most {most}, or fewer engine.workers",
                limits.memories
            );
            return Err(values.wrong(&["engine.memories"], &detail));
        }
        Ok(limits)
    }

    fn of<E>(number: impl Fn(&'static str) -> Result<u64, E>) -> Result<Self, E> {
        let scaled = |key, unit: u64| Ok(number(key)?.saturating_mul(unit));
        let size = |key, unit| Ok(usize::try_from(scaled(key, unit)?).unwrap_or(usize::MAX));
        let small = |key| Ok(u32::try_from(number(key)?).unwrap_or(u32::MAX));
        let seconds = |key| Ok(Duration::from_secs(number(key)?));
        Ok(Self {
            memory: size("engine.guest_memory_mb", MIB)?,
            table_elements: size("engine.table_elements", 1)?,
            core_instances: small("engine.core_instances")?,
            memories: small("engine.memories")?,
            tables: small("engine.tables")?,
            stack: size("engine.stack_kb", KIB)?,
            hostcall: size("engine.hostcall_mb", MIB)?,
            handles: size("engine.handles", 1)?,
            open_files: size("engine.open_files", 1)?,
            sockets: size("engine.sockets", 1)?,
            files: scaled("engine.files_mb_per_service", MIB)?,
            file_count: number("engine.files_per_service")?,
            kv: scaled("engine.kv_mb_per_service", MIB)?,
            response: size("engine.response_max_mb", MIB)?,
            results: size("engine.results", 1)?,
            http_requests: size("engine.http_requests", 1)?,
            http_body: scaled("engine.http_body_mb", MIB)?,
            http_headers: size("engine.http_headers_kb", KIB)?,
            http_connect: seconds("engine.http_connect_secs")?,
            http_silence: seconds("engine.http_silence_secs")?,
            log_line: size("engine.log_line_kb", KIB)?,
            log_lines_per_second: small("engine.log_lines_per_second")?,
            log_bytes: size("engine.log_kb_per_run", KIB)?,
        })
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
