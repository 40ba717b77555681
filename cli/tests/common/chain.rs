//! An EVM endpoint that mines every transaction at once, with just enough of JSON-RPC (EIP-1474) for a client to send one.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::{Json, Router};
use serde_json::{Value, json};

/// A running endpoint; it ends with the test.
pub struct Chain {
    pub url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    /// Whether transactions succeed.
    works: bool,
    /// What `eth_getCode` answers.
    code: &'static str,
    sent: Mutex<Vec<String>>,
}

const HASH_OF_BLOCK: &str = "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

impl Chain {
    pub fn start(works: bool, code: &'static str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            works,
            code,
            sent: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async { axum::serve(listener, router).await });
        Self {
            url,
            shared,
            _runtime: runtime,
        }
    }

    /// The raw transactions that arrived, as hex.
    pub fn sent(&self) -> Vec<String> {
        self.shared.sent.lock().unwrap().clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, Json(request): Json<Value>) -> Json<Value> {
    Json(match request {
        Value::Array(calls) => calls.iter().map(|call| one(&shared, call)).collect(),
        call => one(&shared, &call),
    })
}

fn one(shared: &Shared, call: &Value) -> Value {
    let result = match call["method"].as_str().unwrap() {
        "eth_chainId" => json!("0x7a69"),
        "eth_blockNumber" => json!("0x10"),
        "eth_getTransactionCount" => json!("0x0"),
        "eth_gasPrice" | "eth_maxPriorityFeePerGas" => json!("0x3b9aca00"),
        "eth_estimateGas" => json!("0x5208"),
        "eth_feeHistory" => {
            json!({"oldestBlock": "0x1", "baseFeePerGas": ["0x1", "0x1"], "gasUsedRatio": [0.5], "reward": [["0x1"]]})
        }
        "eth_getCode" => json!(shared.code),
        "eth_sendRawTransaction" => {
            let raw = call["params"][0].as_str().unwrap().to_owned();
            let hash = alloy::primitives::keccak256(alloy::hex::decode(&raw).unwrap());
            shared.sent.lock().unwrap().push(raw);
            json!(hash)
        }
        "eth_getTransactionReceipt" => {
            let zero = format!("0x{}", "00".repeat(20));
            json!({
                "transactionHash": call["params"][0], "transactionIndex": "0x0", "blockHash": HASH_OF_BLOCK, "blockNumber": "0x10",
                "from": zero, "to": zero, "cumulativeGasUsed": "0x1", "gasUsed": "0x1", "effectiveGasPrice": "0x1", "contractAddress": null,
                "logs": [], "logsBloom": format!("0x{}", "00".repeat(256)), "type": "0x2", "status": if shared.works { "0x1" } else { "0x0" }
            })
        }
        "eth_getBlockByNumber" => Value::Null,
        other => panic!("the client asks for {other}"),
    };
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}
