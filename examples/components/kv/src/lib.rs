//! Serves one key-value request in JSON for each trigger, so that every function of the store can be reached
//! from outside. `protocol` holds the requests and replies, `serve` carries them out.

mod protocol;
mod serve;

use operator_kit::wavs_types::core::LogLevel;
use operator_kit::{Guest, TriggerAction, WasmResponse, host, input, output};

struct Kv;

impl Guest for Kv {
    fn run(action: TriggerAction) -> Result<Vec<WasmResponse>, String> {
        host::log(LogLevel::Info, "KV Store component triggered");
        let (id, bytes) = input::decode(&action)?;
        let request = serde_json::from_slice(&bytes).map_err(|error| format!("Failed to parse request: {error}"))?;
        let reply = serve::serve(request)?;
        let json = serde_json::to_vec(&reply).map_err(|error| format!("cannot write the reply: {error}"))?;
        Ok(vec![output::response(output::wrap(id, &json))])
    }
}

operator_kit::export!(Kv);
