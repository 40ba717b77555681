//! Where log lines go and how they look.
//!
//! Everything is written to stderr: one JSON object per line when a parent collects the lines (NOTIFY_SOCKET is set, or
//! `WAVS_LOG_FORMAT=json`, or the configuration says so), text for people otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, TelemetryConfig};

/// Directives that come first, so that the configured ones can override them: libraries that report the normal course of
/// a connection as news, and tarpc, which logs every expired deadline as an error of its own.
const QUIET: &str = "alloy_pubsub=warn,alloy_transport_ws=warn,hyper=warn,reqwest=warn,tarpc=off";

/// Installs the log of this process. A second call does nothing, so tests may call it too.
pub fn install(config: &TelemetryConfig) {
    let filter = EnvFilter::builder().parse_lossy(format!("{QUIET},{}", config.log_level.join(",")));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(true);
    // An error only means that a log is installed already.
    let _ = match format(config) {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}

fn format(config: &TelemetryConfig) -> LogFormat {
    match std::env::var("WAVS_LOG_FORMAT").as_deref() {
        Ok("json") => LogFormat::Json,
        Ok("text") => LogFormat::Text,
        _ if std::env::var_os("NOTIFY_SOCKET").is_some() => LogFormat::Json,
        _ => config.log_format,
    }
}
