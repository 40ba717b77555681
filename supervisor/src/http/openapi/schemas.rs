//! The schemas of the document: requests in full, answers as far as clients rely on them. Answers may gain members at any time.

use serde_json::{Value, json};

/// All of them by name.
pub(super) fn all() -> Value {
    let text = || json!({"type": "string"});
    let maybe_text = || json!({"type": ["string", "null"]});
    let number = || json!({"type": "integer", "minimum": 0});
    let flag = || json!({"type": "boolean"});
    let list = |item: Value| json!({"type": "array", "items": item});
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let manager = || json!({"$ref": "#/components/schemas/ServiceManager"});
    json!({
        "Object": {"type": "object"},
        "Problem": object(&["type", "title", "status", "detail", "code"], json!({
            "type": text(), "title": text(), "status": number(), "detail": text(),
            "code": {"type": "string", "enum": CODES.as_slice()}, "instance": text(),
            "errors": list(object(&["pointer", "code", "detail"], json!({"pointer": text(), "code": text(), "detail": text()}))),
        })),
        "Info": object(&["message"], json!({"message": text(), "name": text(), "version": text(), "api_versions": list(text())})),
        "Health": object(&["timestamp", "chains"], json!({"timestamp": number(), "chains": {"type": "object"}})),
        "Ready": object(&["ready"], json!({
            "ready": flag(),
            "checks": list(object(&["name", "ok"], json!({"name": text(), "ok": flag(), "detail": maybe_text()}))),
        })),
        "ServiceManager": {
            "description": "Exactly one of evm and cosmos.",
            "type": "object", "minProperties": 1, "maxProperties": 1,
            "properties": {
                "evm": object(&["chain", "address"], json!({"chain": text(), "address": text()})),
                "cosmos": object(&["chain", "address"], json!({"chain": text(), "address": text()})),
            },
            "examples": [{"evm": {"chain": "evm:31337", "address": "0x5FbDB2315678afecb367f032d93F642f64180aa3"}}],
        },
        "AddService": object(&["service_manager"], json!({"service_manager": manager(), "hd_index": {"type": ["integer", "null"], "minimum": 1}})),
        "DeleteServices": object(&["service_managers"], json!({"service_managers": list(manager())})),
        "Signer": object(&["secp256k1"], json!({
            "secp256k1": object(&["hd_index", "evm_address"], json!({"hd_index": number(), "evm_address": text()})),
        })),
        "Service": object(&["name", "workflows", "status", "manager"], json!({
            "name": text(), "workflows": {"type": "object"}, "status": {"enum": ["active", "paused"]}, "manager": manager(),
        })),
        "Services": object(&["services", "service_ids", "component_digests"], json!({
            "services": list(json!({"$ref": "#/components/schemas/Service"})), "service_ids": list(text()), "component_digests": list(text()),
        })),
        "ServiceRow": object(&["service_id", "name", "state"], json!({
            "service_id": text(), "name": text(), "manager": manager(), "state": text(), "reason": maybe_text(), "hash": text(),
            "hd_index": number(), "signer": text(),
        })),
        "ServiceStatus": object(&["service_id", "state", "counters", "queue", "workflows"], json!({
            "service_id": text(), "state": text(), "reason": maybe_text(), "counters": {"type": "object"},
            "queue": object(&["pending", "running", "held"], json!({"pending": number(), "running": number(), "held": number()})),
            "lag": {"type": "object", "additionalProperties": object(&[], json!({
                "head": {"type": ["integer", "null"]}, "processed": {"type": ["integer", "null"]},
                "blocks": {"type": ["integer", "null"]}, "seconds": {"type": ["integer", "null"]},
            }))},
            "workflows": list(object(&["workflow_id", "trigger"], json!({
                "workflow_id": text(), "trigger": text(), "source_state": maybe_text(), "next_fire_at": maybe_text(),
                "counters": {"type": "object"},
            }))),
        })),
        "SignerRow": object(&["service_id", "hd_index", "evm_address", "state", "history"], json!({
            "service_id": text(), "name": maybe_text(), "hd_index": number(), "evm_address": text(), "state": text(), "history": text(),
            "refusal": maybe_text(), "registration": {"type": ["object", "null"]}, "target_managers": list(json!({"type": "object"})),
        })),
        "Pause": object(&[], json!({"reason": text(), "mode": {"enum": ["drop", "hold"], "default": "drop"}})),
        "Restart": object(&[], json!({"mode": {"enum": ["drain", "kill"], "default": "drain"}})),
        "AcceptEmptyHistory": object(&[], json!({"service_id": maybe_text()})),
        "RetryDeadLetters": object(&[], json!({"service_id": maybe_text(), "stage": maybe_text(), "max": number()})),
        "P2pStatus": object(&["enabled", "connected_peers", "peer_ids"], json!({
            "enabled": flag(), "local_peer_id": maybe_text(), "listen_addresses": list(text()), "external_addresses": list(text()),
            "connected_peers": number(), "peer_ids": list(text()), "subscribed_topics": list(text()),
            "topic_peer_counts": {"type": "object", "additionalProperties": number()},
        })),
        "Process": object(&["name", "state"], json!({
            "name": text(), "state": text(), "pid": {"type": ["integer", "null"]}, "restarts": number(), "health": maybe_text(),
        })),
        "Alert": object(&["name", "severity", "detail", "since"], json!({
            "name": text(), "severity": {"enum": ["warning", "critical"]}, "subject": maybe_text(), "detail": text(),
            "since": {"type": "string", "format": "date-time"},
        })),
        "Job": object(&["job_id", "service_id", "workflow_id", "state"], json!({
            "job_id": text(), "service_id": text(), "workflow_id": text(), "trigger_type": text(), "state": text(), "attempts": number(),
            "error": maybe_text(), "event_ids": list(text()),
        })),
        "Hash": object(&["hash"], json!({"hash": text()})),
        "Digest": object(&["digest"], json!({"digest": text()})),
        "AddChain": object(&["chain", "config"], json!({"chain": text(), "config": object(&["type", "chain_id"], json!({
            "type": {"enum": ["evm", "cosmos"]}, "chain_id": text(),
        }))})),
        "SimulatedTrigger": object(&["service_id", "workflow_id", "trigger", "data", "wait_for_completion"], json!({
            "service_id": text(), "workflow_id": text(), "trigger": {}, "data": {},
            "count": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 1}, "wait_for_completion": flag(),
            "timeout_secs": {"type": "integer", "minimum": 1, "maximum": 600, "default": 60},
        })),
    })
}

/// The closed set of codes of problems.
const CODES: [&str; 35] = [
    "malformed-json",
    "invalid-parameter",
    "unauthorized",
    "token-not-configured",
    "insufficient-scope",
    "host-not-allowed",
    "origin-not-allowed",
    "admin-socket-only",
    "not-found",
    "service-not-found",
    "service-hash-not-found",
    "signer-not-found",
    "chain-not-configured",
    "method-not-allowed",
    "already-registered",
    "chain-exists",
    "in-use",
    "conflict",
    "lifecycle-busy",
    "payload-too-large",
    "unsupported-media-type",
    "invalid-shape",
    "invalid-service",
    "manager-mismatch",
    "invalid-component",
    "digest-mismatch",
    "chain-config-invalid",
    "rate-limited",
    "fetch-failed",
    "chain-rpc",
    "process-down",
    "overloaded",
    "signer-missing",
    "timeout",
    "internal",
];
