//! Keys that are accepted, because configurations that work elsewhere must start here too, but have no effect in this
//! version. Setting one is answered with a warning: a setting that is silently ignored is worse than a refused one.

use super::layer::Layer;

/// The keys without effect; `*` stands for any name.
const DORMANT: [&str; 17] = [
    "jaeger",
    "prometheus",
    "prometheus_push_interval_secs",
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
    "service.*.ordered",
];

/// Warns about each key of `layer` that has no effect.
pub(super) fn warn(layer: &Layer, warnings: &mut Vec<String>) {
    for path in layer.entries.keys() {
        if contains(path) {
            let name = path.join(".");
            warnings.push(format!("{name} is set but has no effect in this version"));
        }
    }
}

/// Whether the key at `path` has no effect.
pub(super) fn contains<S: AsRef<str>>(path: &[S]) -> bool {
    DORMANT.iter().any(|dormant| is(path, dormant))
}

fn is<S: AsRef<str>>(path: &[S], dormant: &str) -> bool {
    let mut segments = dormant.split('.');
    path.iter().all(|name| {
        segments
            .next()
            .is_some_and(|segment| segment == "*" || segment == name.as_ref())
    }) && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::super::keys::KEYS;
    use super::*;

    #[test]
    fn every_key_without_effect_is_a_key() {
        for dormant in DORMANT {
            assert!(KEYS.iter().any(|key| key.path == dormant), "{dormant}");
        }
    }

    #[test]
    fn a_star_stands_for_one_name() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert!(is(&path("service/1111.2/kv_mode"), "service.*.kv_mode"));
        assert!(is(&path("jaeger"), "jaeger"));
        for other in [
            "service/kv_mode",
            "service/1/kv_mode/more",
            "service/1/callback",
            "jaeger",
        ] {
            assert!(!is(&path(other), "service.*.kv_mode"), "{other}");
        }
    }
}
