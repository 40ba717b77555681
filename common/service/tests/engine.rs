//! What engine-svc is told: the bounds on guests, and the ports at which the node itself can be reached.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::Scratch;
use wavs_service::config::keys::KEYS;
use wavs_service::config::{GuestLimits, Kind};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Each key with a value that is not the built-in one, the field, and what is then in it.
const BOUNDS: [(&str, u64, &str, u64); 23] = [
    ("guest_memory_mb", 3, "memory", 3 * MIB),
    ("table_elements", 4, "table_elements", 4),
    ("core_instances", 5, "core_instances", 5),
    ("memories", 6, "memories", 6),
    ("tables", 7, "tables", 7),
    ("stack_kb", 65, "stack", 65 * KIB),
    ("hostcall_mb", 9, "hostcall", 9 * MIB),
    ("handles", 20, "handles", 20),
    ("open_files", 11, "open_files", 11),
    ("sockets", 12, "sockets", 12),
    ("files_mb_per_service", 13, "files", 13 * MIB),
    ("files_per_service", 14, "file_count", 14),
    ("kv_mb_per_service", 15, "kv", 15 * MIB),
    ("response_max_mb", 2, "response", 2 * MIB),
    ("results", 17, "results", 17),
    ("http_requests", 18, "http_requests", 18),
    ("http_body_mb", 19, "http_body", 19 * MIB),
    ("http_headers_kb", 20, "http_headers", 20 * KIB),
    ("http_connect_secs", 21, "http_connect", 21),
    ("http_silence_secs", 22, "http_silence", 22),
    ("log_line_kb", 23, "log_line", 23 * KIB),
    ("log_lines_per_second", 24, "log_lines_per_second", 24),
    ("log_kb_per_run", 25, "log_bytes", 25 * KIB),
];

/// A field as a number; times are in seconds.
fn field(limits: &Value, name: &str) -> Option<u64> {
    let value = &limits[name];
    value.as_u64().or_else(|| value["secs"].as_u64())
}

fn json(limits: GuestLimits) -> Value {
    serde_json::to_value(limits).unwrap()
}

#[test]
fn without_configuration_the_documented_bounds_apply() {
    let guest = Scratch::new().loaded().node.engine.guest;
    assert_eq!(guest, GuestLimits::default());
    let expected = GuestLimits {
        memory: 256 << 20,
        table_elements: 100_000,
        core_instances: 64,
        memories: 16,
        tables: 16,
        stack: 512 << 10,
        hostcall: 32 << 20,
        handles: 10_000,
        open_files: 256,
        sockets: 32,
        files: 1 << 30,
        file_count: 100_000,
        kv: 256 << 20,
        response: 4 << 20,
        results: 64,
        http_requests: 32,
        http_body: 64 << 20,
        http_headers: 128 << 10,
        http_connect: Duration::from_secs(10),
        http_silence: Duration::from_secs(30),
        log_line: 8 << 10,
        log_lines_per_second: 100,
        log_bytes: 256 << 10,
    };
    assert_eq!(guest, expected);
}

#[test]
fn every_bound_has_a_key_that_sets_it_alone() {
    let default = json(GuestLimits::default());
    for (key, value, changed, expected) in BOUNDS {
        let text = format!("[wavs.engine]\n{key} = {value}");
        let from_file = json(Scratch::new().file("wavs.toml", &text).loaded().node.engine.guest);
        let variable = format!("WAVS_ENGINE__{}", key.to_uppercase());
        let scratch = Scratch::new().variable(&variable, &value.to_string());
        assert_eq!(json(scratch.loaded().node.engine.guest), from_file, "{variable}");
        for name in default.as_object().unwrap().keys() {
            let (now, before) = (field(&from_file, name), field(&default, name));
            if name == changed {
                assert_eq!(now, Some(expected), "{key}");
                assert_ne!(now, before, "{key}");
            } else {
                assert_eq!(now, before, "{key} changes {name}");
            }
        }
    }
    assert_eq!(default.as_object().unwrap().len(), BOUNDS.len());
}

#[test]
fn a_bound_out_of_range_is_refused_by_its_name_and_the_range_is_usable() {
    for (name, ..) in BOUNDS {
        let path = format!("engine.{name}");
        let key = KEYS.iter().find(|key| key.path == path).unwrap();
        let Kind::Number(low, high) = key.kind else {
            panic!("{path} is no number")
        };
        let file =
            |value: u64| Scratch::new().file("wavs.toml", &format!("[wavs.engine]\nworkers = 2\n{name} = {value}"));
        for value in low.checked_sub(1).into_iter().chain([high + 1]) {
            let refused = file(value).refused();
            assert!(
                refused.contains(&path) && refused.contains("line 3"),
                "{value}: {refused}"
            );
        }
        for value in [low, high] {
            file(value).loaded();
        }
    }
}

/// Each memory reserves addresses, of which a process has only so many.
#[test]
fn memories_of_all_guests_must_find_addresses() {
    let file = |workers: usize, memories: usize| {
        let text = format!("[wavs.engine]\nworkers = {workers}\nmemories = {memories}");
        Scratch::new().file("wavs.toml", &text)
    };
    for (workers, most) in [(1, 256), (8, 64), (32, 16), (1_000, 16)] {
        let guest = file(workers, most).loaded().node.engine.guest;
        assert_eq!(guest.memories as usize, most);
    }
    for (workers, most) in [(8, 64), (32, 16), (1_000, 16)] {
        let refused = file(workers, most + 1).refused();
        let says = format!("at most {most}, or fewer engine.workers");
        assert!(
            refused.contains("engine.memories") && refused.contains("line 3") && refused.contains(&says),
            "{refused}"
        );
    }
}

#[test]
fn the_own_ports_are_those_of_the_api_of_the_old_api_and_of_the_metrics() {
    let ports = |text: &str| {
        let node = Scratch::new().file("wavs.toml", text).loaded().node;
        assert_eq!(node.trigger.own_ports, node.engine.own_ports);
        node.engine.own_ports
    };
    assert_eq!(ports("[wavs]"), [8000]);
    assert_eq!(
        ports(
            "[wavs]\nport = 8041\n[wavs.http]\nlegacy_aggregator_port = 8001\n[wavs.telemetry]\nmetrics_listen = \"127.0.0.1:9100\""
        ),
        [8041, 8001, 9100]
    );
    assert_eq!(ports("[wavs.telemetry]\nmetrics_listen = \"[::1]:9100\""), [8000, 9100]);
    // Which port a 0 stands for is not known to anybody beforehand.
    assert_eq!(
        ports("[wavs]\nport = 0\n[wavs.telemetry]\nmetrics_listen = \"127.0.0.1:0\""),
        Vec::<u16>::new()
    );
    let from_variables = Scratch::new()
        .variable("WAVS_PORT", "8042")
        .variable("WAVS_TELEMETRY__METRICS_LISTEN", "0.0.0.0:9101")
        .loaded();
    assert_eq!(from_variables.node.engine.own_ports, [8042, 9101]);
}
