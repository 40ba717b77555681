//! Keys that are accepted, because configurations that work elsewhere must start here too, but have no effect in this
//! version. Setting one is answered with a warning: a setting that is silently ignored is worse than a refused one.

use super::layer::Layer;

/// The keys, or tables of keys, without effect.
const DORMANT: [&str; 17] = [
    "jaeger",
    "prometheus",
    "prometheus_push_interval_secs",
    "health_check_mode",
    "jetstream_endpoint",
    "jetstream_endpoints",
    "jetstream_max_message_size",
    "jetstream_rewind_secs",
    "hyperswarm_bootstrap",
    "hypercore_start",
    "aggregator_cosmos_credential",
    "http.rate_read",
    "http.rate_write",
    "http.rate_limit_loopback",
    "http.sse_max",
    "http.legacy_aggregator_port",
    "telemetry.log_file",
];

/// Warns about each key of `layer` that has no effect.
pub(super) fn warn(layer: &Layer, warnings: &mut Vec<String>) {
    for path in layer.entries.keys() {
        let name = path.join(".");
        if DORMANT.contains(&name.as_str()) {
            warnings.push(format!("{name} is set but has no effect in this version"));
        }
    }
}
