//! A development chain as a child process.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, Bytes};
use serde_json::{Value, json};

use crate::chain::ChainMetrics;
use crate::chain::endpoint::Endpoint;

/// Ends with the test.
pub(super) struct Anvil {
    child: Child,
    endpoint: Endpoint,
    address: String,
}

impl Anvil {
    /// Starts a chain on a free port; `None`, with a message, where there is no anvil on this machine.
    pub(super) fn start(arguments: &[&str]) -> Option<Self> {
        let Some(program) = find() else {
            eprintln!("skipped: no anvil in PATH, in ANVIL or below the target directory");
            return None;
        };
        let mut child = Command::new(program)
            .args(["--port", "0", "--host", "127.0.0.1"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned))
            .unwrap();
        // Its output must be drained, or it stops at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let timeout = Duration::from_secs(10);
        let url = format!("http://{address}").parse().unwrap();
        let endpoint = Endpoint::new(url, timeout, timeout, Arc::new(ChainMetrics::default()));
        Some(Self {
            child,
            endpoint,
            address,
        })
    }

    pub(super) fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(super) async fn request(&self, method: &'static str, params: Value) -> Value {
        self.endpoint.request(method, params).await.unwrap()
    }

    /// Sends a transaction of an account that the node itself holds the key of; answers its receipt.
    pub(super) async fn transact(&self, transaction: Value) -> Value {
        let hash = self.request("eth_sendTransaction", json!([transaction])).await;
        loop {
            let receipt = self.request("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                assert_eq!(receipt["status"], "0x1", "transaction failed");
                return receipt;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn mine(&self, blocks: u64) {
        self.request("anvil_mine", json!([format!("0x{blocks:x}")])).await;
    }

    pub(super) async fn set_code(&self, address: Address, code: Bytes) {
        self.request("anvil_setCode", json!([address, code])).await;
    }

    pub(super) async fn set_balance(&self, address: Address, wei: u128) {
        self.request("anvil_setBalance", json!([address, format!("0x{wei:x}")]))
            .await;
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    const NPM: &str = "tools/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil";
    let named = std::env::var_os("ANVIL").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("anvil"));
    let test = std::env::current_exe().ok()?;
    let near = test
        .ancestors()
        .skip(1)
        .take(5)
        .map(|folder| folder.join(NPM))
        .collect::<Vec<_>>();
    named.into_iter().chain(in_path).chain(near).find(|file| file.is_file())
}
