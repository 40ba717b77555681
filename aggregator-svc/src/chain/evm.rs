//! One EVM chain: typed requests on one endpoint ([`Rpc`]) and over all of them ([`EvmChain`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes, U64, U128, U256};
use alloy::sol_types::SolCall;
use serde_json::{Value, json};
use wavs_types::{ChainKey, EvmChainConfig};

use super::endpoint::{Endpoint, Fault};
use super::error::ChainError;
use super::gather::Gather;
use super::metrics::ChainMetrics;
use super::pool::{EndpointHealth, Pool};
use super::quorum::{ManagerCache, PinnedCache};
use super::transactions::FeeCache;
use super::wire::{At, CallRequest, FeeHistory, FullBlock, Head, LogPlace, Receipt, TxInfo};

const RECEIPT: &str = "eth_getTransactionReceipt";
/// Block time assumed until two heads were seen.
const BLOCK_TIME_UNKNOWN: Duration = Duration::from_secs(2);

/// A configured EVM chain.
pub(super) struct EvmChain {
    pub(super) key: ChainKey,
    pub(super) config: EvmChainConfig,
    pub(super) pool: Pool,
    pub(super) managers: ManagerCache,
    pub(super) pinned: PinnedCache,
    pub(super) fees: FeeCache,
    pub(super) metrics: Arc<ChainMetrics>,
    receipts: Arc<Gather<(), B256, Result<Option<Receipt>, ChainError>>>,
    seen: Mutex<Option<Seen>>,
    inclusion: Mutex<Option<Duration>>,
}

/// What heads told about the pace of the chain.
#[derive(Clone, Copy)]
struct Seen {
    number: u64,
    at: Instant,
    block_time: Duration,
}

/// One endpoint of a chain, for reads that belong together.
#[derive(Clone)]
pub(super) struct Rpc {
    endpoint: Arc<Endpoint>,
}

impl EvmChain {
    pub(super) fn new(key: ChainKey, config: EvmChainConfig, metrics: Arc<ChainMetrics>) -> Self {
        Self {
            pool: Pool::new(key.clone(), &config, &metrics),
            managers: ManagerCache::default(),
            pinned: PinnedCache::default(),
            fees: FeeCache::default(),
            receipts: Arc::default(),
            seen: Mutex::new(None),
            inclusion: Mutex::new(None),
            key,
            config,
            metrics,
        }
    }

    /// Runs `work` on the best endpoint, and on the next ones while the way to them fails.
    ///
    /// # Errors
    /// The chain's answer, or the last endpoint's fault.
    pub(super) async fn on_one<T, F, Fut>(&self, method: &'static str, work: F) -> Result<T, ChainError>
    where
        F: Fn(Rpc) -> Fut,
        Fut: Future<Output = Result<T, Fault>>,
    {
        let mut last = self.pool.none_left();
        for rpc in self.all() {
            if let Err(error) = self.pool.verify(&rpc.endpoint).await {
                last = error;
                continue;
            }
            match work(rpc).await {
                Ok(value) => return Ok(value),
                Err(fault) if fault.is_transport() => last = self.pool.error(method, fault),
                Err(fault) => return Err(self.pool.error(method, fault)),
            }
        }
        Err(last)
    }

    /// All usable endpoints, best first. Each is to be verified before it is asked.
    pub(super) fn all(&self) -> Vec<Rpc> {
        self.pool
            .usable()
            .into_iter()
            .map(|endpoint| Rpc { endpoint })
            .collect()
    }

    /// The receipt of a transaction. Those who ask at the same time share requests.
    pub(super) async fn receipt(self: &Arc<Self>, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let chain = Arc::clone(self);
        let ask = move |hashes: Vec<B256>| {
            let chain = Arc::clone(&chain);
            async move { chain.receipts(&hashes).await }
        };
        let answer = self.receipts.answer((), hash, ask).await;
        answer.unwrap_or_else(|| {
            let fault = Fault::Transport("the request was given up".to_owned());
            Err(self.pool.error(RECEIPT, fault))
        })
    }

    async fn receipts(&self, hashes: &[B256]) -> Vec<Result<Option<Receipt>, ChainError>> {
        let all = self.on_one(RECEIPT, |rpc| async move {
            let answers = rpc.receipts(hashes).await;
            match answers
                .iter()
                .flat_map(|answer| answer.as_ref().err())
                .find(|fault| fault.is_transport())
            {
                Some(fault) => Err(fault.clone()),
                None => Ok(answers),
            }
        });
        match all.await {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| answer.map_err(|fault| self.pool.error(RECEIPT, fault)))
                .collect(),
            Err(error) => hashes.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// The newest block.
    pub(super) async fn head(&self) -> Result<Head, ChainError> {
        let head = self
            .on_one("eth_getBlockByNumber", |rpc| async move { rpc.head().await })
            .await?;
        self.saw(&head);
        Ok(head)
    }

    /// Learns the pace of the chain from a head.
    pub(super) fn saw(&self, head: &Head) {
        let number = head.number.to::<u64>();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match *seen {
            Some(old) if number > old.number => {
                let blocks = u32::try_from(number - old.number).unwrap_or(u32::MAX);
                let pace = now.duration_since(old.at) / blocks;
                *seen = Some(Seen {
                    number,
                    at: now,
                    block_time: (old.block_time * 3 + pace) / 4,
                });
            }
            Some(old) if number == old.number => {}
            _ => {
                *seen = Some(Seen {
                    number,
                    at: now,
                    block_time: BLOCK_TIME_UNKNOWN,
                });
            }
        }
    }

    /// Time between two blocks as seen lately.
    pub(super) fn block_time(&self) -> Duration {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(BLOCK_TIME_UNKNOWN, |seen| seen.block_time)
    }

    /// How long transactions lately took from being sent to being mined.
    pub(super) fn usual_inclusion(&self) -> Option<Duration> {
        *self.inclusion.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from one transaction.
    pub(super) fn saw_inclusion(&self, took: Duration) {
        let mut usual = self.inclusion.lock().unwrap_or_else(PoisonError::into_inner);
        *usual = Some(usual.map_or(took, |old| (old * 3 + took) / 4));
    }

    /// State of the endpoints.
    pub(super) fn health(&self) -> Vec<EndpointHealth> {
        self.pool.health()
    }
}

impl Rpc {
    pub(super) async fn head(&self) -> Result<Head, Fault> {
        self.endpoint.newest().await
    }

    /// The endpoint that is asked.
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// One block by number; absent above the head.
    pub(super) async fn block(&self, number: u64) -> Result<Option<Head>, Fault> {
        self.endpoint
            .request("eth_getBlockByNumber", json!([U64::from(number), false]))
            .await
    }

    /// The finalized block's number; absent where the chain has no such tag yet.
    pub(super) async fn finalized(&self) -> Result<Option<u64>, Fault> {
        let head: Option<Head> = self
            .endpoint
            .request("eth_getBlockByNumber", json!(["finalized", false]))
            .await?;
        Ok(head.map(|head| head.number.to()))
    }

    /// The block parameter that pins reads to `head` on this endpoint.
    pub(super) fn pin(&self, head: &Head) -> At {
        if self.endpoint.health().by_hash {
            At::Hash(head.hash)
        } else {
            At::Number(head.number.to())
        }
    }

    /// `eth_call`. Falls back to the number for endpoints that do not know block hashes as parameters.
    pub(super) async fn call(&self, call: &CallRequest, at: At) -> Result<Bytes, Fault> {
        self.endpoint.request("eth_call", json!([call, at])).await
    }

    /// Calls a contract function and decodes its result.
    pub(super) async fn read<C: SolCall>(&self, to: Address, call: &C, at: At) -> Result<C::Return, Fault> {
        let request = CallRequest {
            from: None,
            to: Some(to),
            data: call.abi_encode().into(),
        };
        let bytes = self.call(&request, at).await?;
        if bytes.is_empty() {
            return Err(Fault::Revert(super::revert::Revert::new(Bytes::new())));
        }
        C::abi_decode_returns(&bytes)
            .map_err(|error| Fault::Shape(format!("result of {} from {to}: {error}", C::SIGNATURE)))
    }

    /// As [`Rpc::read`] for a function that the contract may not have: a revert or a result of another shape is `None`.
    pub(super) async fn probe<C: SolCall>(&self, to: Address, call: &C, at: At) -> Result<Option<C::Return>, Fault> {
        let request = CallRequest {
            from: None,
            to: Some(to),
            data: call.abi_encode().into(),
        };
        match self.call(&request, at).await {
            Ok(bytes) => Ok(C::abi_decode_returns(&bytes).ok()),
            Err(Fault::Revert(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Gas that a call would use; a call that would fail is a [`Fault::Revert`].
    pub(super) async fn estimate(&self, call: &CallRequest, at: At) -> Result<u64, Fault> {
        let gas: U64 = self.endpoint.request("eth_estimateGas", json!([call, at])).await?;
        Ok(gas.to())
    }

    pub(super) async fn code_is_empty(&self, address: Address, at: At) -> Result<bool, Fault> {
        let code: Bytes = self.endpoint.request("eth_getCode", json!([address, at])).await?;
        Ok(code.is_empty())
    }

    /// Transactions of `account` that are in blocks.
    pub(super) async fn count(&self, account: Address, tag: &'static str) -> Result<u64, Fault> {
        let count: U64 = self
            .endpoint
            .request("eth_getTransactionCount", json!([account, tag]))
            .await?;
        Ok(count.to())
    }

    pub(super) async fn balance(&self, account: Address) -> Result<U256, Fault> {
        self.endpoint
            .request("eth_getBalance", json!([account, "latest"]))
            .await
    }

    pub(super) async fn fee_history(&self, blocks: u64, percentile: f64) -> Result<FeeHistory, Fault> {
        let params = json!([U64::from(blocks), "latest", [percentile]]);
        self.endpoint.request("eth_feeHistory", params).await
    }

    pub(super) async fn gas_price(&self) -> Result<u128, Fault> {
        let price: U128 = self.endpoint.request("eth_gasPrice", json!([])).await?;
        Ok(price.to())
    }

    /// Sends raw transactions, in their order.
    pub(super) async fn send_raws(&self, raws: &[Bytes]) -> Vec<Result<B256, Fault>> {
        let params = raws.iter().map(|raw| json!([raw])).collect();
        self.endpoint.batch("eth_sendRawTransaction", params).await
    }

    async fn receipts(&self, hashes: &[B256]) -> Vec<Result<Option<Receipt>, Fault>> {
        let params = hashes.iter().map(|hash| json!([hash])).collect();
        self.endpoint.batch(RECEIPT, params).await
    }

    pub(super) async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, Fault> {
        self.endpoint.request("eth_getTransactionReceipt", json!([hash])).await
    }

    pub(super) async fn transaction(&self, hash: B256) -> Result<Option<TxInfo>, Fault> {
        self.endpoint.request("eth_getTransactionByHash", json!([hash])).await
    }

    pub(super) async fn block_with_transactions(&self, number: u64) -> Result<Option<FullBlock>, Fault> {
        self.endpoint
            .request("eth_getBlockByNumber", json!([U64::from(number), true]))
            .await
    }

    pub(super) async fn logs(&self, address: Address, from: u64, to: u64) -> Result<Vec<LogPlace>, Fault> {
        let filter = json!({"address": address, "fromBlock": U64::from(from), "toBlock": U64::from(to)});
        self.endpoint.request("eth_getLogs", Value::Array(vec![filter])).await
    }

    /// From now on blocks are named by number on this endpoint.
    pub(super) fn forget_hashes(&self) {
        self.endpoint.health().by_hash = false;
    }
}
