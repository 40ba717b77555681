//! Logs, traces and pushed metrics of all processes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::values::Values;

/// How a process reports on itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TelemetryConfig {
    /// Filter directives such as `info` or `wavs_engine=debug`.
    pub log_level: Vec<String>,
    /// Form of a log line when no parent collects it.
    pub log_format: LogFormat,
    /// File that the supervisor writes the lines of all processes to, beside stderr.
    pub log_file: Option<PathBuf>,
    /// Base of an OTLP gRPC collector for traces.
    pub jaeger: Option<String>,
    /// Base of a collector that metrics are pushed to.
    pub prometheus: Option<String>,
    /// Time between two pushes.
    pub prometheus_push_interval: Duration,
    /// Share of the jobs that are traced, 0 to 1.
    pub trace_sample_ratio: f64,
    /// `host:port` that serves `/metrics` only.
    pub metrics_listen: Option<String>,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

impl TelemetryConfig {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            log_level: values.list("log_level")?,
            log_format: values.choice("telemetry.log_format")?,
            log_file: values.optional_path("telemetry.log_file")?,
            jaeger: values.optional_text("jaeger")?,
            prometheus: values.optional_text("prometheus")?,
            prometheus_push_interval: values.seconds("prometheus_push_interval_secs")?,
            trace_sample_ratio: values.float("telemetry.trace_sample_ratio")?.clamp(0.0, 1.0),
            metrics_listen: values.optional_text("telemetry.metrics_listen")?,
        })
    }
}
