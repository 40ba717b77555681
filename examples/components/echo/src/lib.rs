//! Returns what it is given. Tests steer it: `configvar:` and `envvar:` markers in the input are replaced by
//! values, some exact texts ask for salted responses, the config keys `sleep-ms` and `sleep-kind` delay it, and a
//! text that starts with `do:` (or the config key `do`) asks for one of the misdeeds in `behaviour`.

mod behaviour;
mod markers;
mod sleep;

use operator_kit::wavs_types::events::TriggerData;
use operator_kit::{Guest, TriggerAction, WasmResponse, host, input, output};

struct Echo;

impl Guest for Echo {
    fn run(action: TriggerAction) -> Result<Vec<WasmResponse>, String> {
        sleep::as_configured()?;
        if host::get_event_id(None).iter().all(|byte| *byte == 0) {
            return Err("the event id is all zero".into());
        }
        if let Some(wish) = host::config_var("do") {
            return behaviour::perform(&wish, &action);
        }
        if matches!(action.data, TriggerData::BlockInterval(_) | TriggerData::Cron(_)) {
            return Err("expected trigger data".into());
        }
        let (id, bytes) = input::decode(&action)?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Ok(vec![answer(&action, id, &bytes)]);
        };
        if let Some(value) = markers::replace(text)? {
            return Ok(vec![answer(&action, id, value.as_bytes())]);
        }
        match text {
            "custom-event-id" => Ok(vec![salted("event-id-salt")]),
            "multi-response" => Ok(vec![salted("event-id-salt-1"), salted("event-id-salt-2")]),
            "multi-response-bad" => Ok(vec![salted("event-id-salt-1"), output::response(Vec::new())]),
            _ => match text.strip_prefix("do:") {
                Some(wish) => behaviour::perform(wish, &action),
                None => Ok(vec![answer(&action, id, &bytes)]),
            },
        }
    }
}

/// Raw input comes back as it is, so that a test can compare bytes; an event's goes to a handler.
fn answer(action: &TriggerAction, id: u64, data: &[u8]) -> WasmResponse {
    match action.data {
        TriggerData::Raw(_) => output::response(data.to_vec()),
        _ => output::response(output::wrap(id, data)),
    }
}

/// An empty payload under a salt from the config. A missing key is a mistake of the test and traps.
fn salted(key: &str) -> WasmResponse {
    let salt = host::config_var(key).expect("a salt in the config");
    WasmResponse {
        event_id_salt: Some(salt.into_bytes()),
        ..output::response(Vec::new())
    }
}

operator_kit::export!(Echo);
