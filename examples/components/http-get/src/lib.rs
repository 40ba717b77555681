//! Fetches the URL in its input and returns status and body as JSON, so that tests can see which addresses the
//! node lets a component reach.

use operator_kit::{Guest, TriggerAction, WasmResponse, input, output};

struct HttpGet;

impl Guest for HttpGet {
    fn run(action: TriggerAction) -> Result<Vec<WasmResponse>, String> {
        let (id, bytes) = input::decode(&action)?;
        let url = std::str::from_utf8(&bytes).map_err(|_| "the input is not a URL but binary".to_owned())?;
        let response = http_kit::get(url.trim())?;
        let body = String::from_utf8_lossy(&response.body);
        let json = serde_json::json!({ "status": response.status, "body": body }).to_string();
        Ok(vec![output::response(output::wrap(id, json.as_bytes()))])
    }
}

operator_kit::export!(HttpGet);
