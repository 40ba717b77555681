//! Squares a number: `{"x":3}` becomes `{"y":9}`. The product wraps at 2^64.

use operator_kit::{Guest, TriggerAction, WasmResponse, input, output};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    x: u64,
}

#[derive(Serialize)]
struct Reply {
    y: u64,
}

struct Square;

impl Guest for Square {
    fn run(action: TriggerAction) -> Result<Vec<WasmResponse>, String> {
        let (id, bytes) = input::decode(&action)?;
        let request: Request = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let reply = Reply {
            y: request.x.wrapping_mul(request.x),
        };
        let json = serde_json::to_vec(&reply).map_err(|error| error.to_string())?;
        Ok(vec![output::response(output::wrap(id, &json))])
    }
}

operator_kit::export!(Square);
