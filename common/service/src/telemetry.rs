//! Where log lines go and how they look.
//!
//! Everything is written to stderr: one JSON object per line when a parent collects the lines (NOTIFY_SOCKET is set, or
//! `WAVS_LOG_FORMAT=json`, or the configuration says so), text for people otherwise. The filter can be replaced while the process
//! runs; everything else holds until its end.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

use crate::config::{LogFormat, TelemetryConfig};

/// Directives that come first, so that the configured ones can override them: libraries that report the normal course of
/// a connection as news, and tarpc, which logs every expired deadline as an error of its own.
const QUIET: &str = "alloy_pubsub=warn,alloy_transport_ws=warn,hyper=warn,reqwest=warn,tarpc=off";

/// Replaces the filter of the installed log.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Why the filter was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// A directive is no directive.
    #[error("log_level {directives:?} is not understood ({cause}); write it like info or wavs_engine=debug")]
    Parse {
        /// What was asked for.
        directives: String,
        /// What is wrong.
        cause: String,
    },
    /// There is no log whose filter could be replaced.
    #[error("this process has no log whose level could be changed; restart it")]
    NoLog,
}

/// Installs the log of this process. A second call does nothing, so tests may call it too.
pub fn install(config: &TelemetryConfig) {
    install_lines(&config.log_level, environment().unwrap_or(config.log_format));
}

/// The form of the lines that the environment of this process asks for, if it does.
#[must_use]
pub fn environment() -> Option<LogFormat> {
    match std::env::var("WAVS_LOG_FORMAT").as_deref() {
        Ok("json") => Some(LogFormat::Json),
        Ok("text") => Some(LogFormat::Text),
        _ => std::env::var_os("NOTIFY_SOCKET").map(|_| LogFormat::Json),
    }
}

/// Installs the log of a process that has no configuration. A second call does nothing.
pub fn install_lines(level: &[String], format: LogFormat) {
    let filter = EnvFilter::builder().parse_lossy(directives(level));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(true);
    let installed = match format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            registry
                .with(lines.with_current_span(true).with_span_list(false))
                .try_init()
        }
        LogFormat::Text => registry
            .with(lines.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
    };
    // An error only means that a log is installed already; its handle stays.
    if installed.is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Lets the log pass what `level` says from now on.
///
/// # Errors
/// When a directive cannot be read, or this process has no log; the old filter stays then.
pub fn set_level(level: &[String]) -> Result<(), LevelError> {
    let filter = EnvFilter::builder()
        .parse(directives(level))
        .map_err(|cause| LevelError::Parse {
            directives: level.join(","),
            cause: cause.to_string(),
        })?;
    let handle = FILTER.get().ok_or(LevelError::NoLog)?;
    handle.reload(filter).map_err(|_| LevelError::NoLog)?;
    tracing::info!(level = level.join(","), "the log level was changed");
    Ok(())
}

fn directives(level: &[String]) -> String {
    format!("{QUIET},{}", level.join(","))
}
