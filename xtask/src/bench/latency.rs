//! How long one event takes to become a result, seen from the chain: a client of its own listens to both contracts.
//!
//! The clock starts when that client hears of the event, which is when a node can hear of it too, and stops when the
//! client hears of the result. Sending the event's own transaction is timed too: what any transaction takes on
//! this chain, so that the node's share shows.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy::consensus::Transaction as _;
use alloy::eips::Encodable2718 as _;
use alloy::network::{Ethereum, EthereumWallet, NetworkTransactionBuilder, TransactionBuilder as _};
use alloy::primitives::{Address, B256};
use alloy::providers::{DynProvider, Provider as _, ProviderBuilder, WsConnect};
use alloy::pubsub::Subscription;
use alloy::rpc::types::{Filter, Log, TransactionRequest};
use alloy::sol_types::{SolCall as _, SolValue as _};
use anyhow::{Context as _, Result, ensure};
use e2e::contracts::{DataWithId, SimpleTrigger, development_key};

use super::bed::Bed;
use super::progress::Step;

/// The account that fires; nothing else posts from it.
const SENDER_INDEX: u32 = 18;
/// Gas limit of the event's transaction.
const GAS_LIMIT: u64 = 1_000_000;
/// What the sender pays for gas, in wei; far above what a fresh chain asks for.
const MAX_FEE: u128 = 20_000_000_000;
/// How long a result may take until it counts as lost.
const RESULT_LIMIT: Duration = Duration::from_secs(30);
/// Rest between two events: each is really alone, and its notifications are not held back until the kernel acknowledges those
/// of the one before, which it does after 40 ms at the latest.
const PACE: Duration = Duration::from_millis(60);

/// One event and its result.
#[derive(Debug, Clone)]
pub(super) struct Landing {
    /// Where the event is, in the node's terms.
    pub(super) source: String,
    /// When the client heard of the event, in microseconds since 1970.
    pub(super) fired_us: u64,
    /// From sending the event's transaction until the client heard of it.
    pub(super) bare: Duration,
    /// From hearing of the event until the node's transaction was in the chain's pool.
    pub(super) broadcast: Option<Duration>,
    /// From hearing of the event until hearing of its result.
    pub(super) result: Duration,
    /// The transactions of the event and of the result.
    pub(super) transactions: (B256, B256),
}

/// A client that fires events and listens.
///
/// Each subscription has a connection of its own: anvil leaves Nagle's algorithm on, so that the second of two messages
/// on one connection waits for the acknowledgement of the first, which would be measured as 40 ms of the node.
pub(super) struct Observer {
    provider: DynProvider,
    _listeners: [DynProvider; 3],
    wallet: EthereumWallet,
    sender: Address,
    trigger: Address,
    chain_key: String,
    chain_id: u64,
    nonce: u64,
    events: Subscription<Log>,
    results: Subscription<Log>,
    pool: Subscription<B256>,
}

impl Observer {
    /// Connects and subscribes.
    pub(super) async fn connect(bed: &Bed) -> Result<Self> {
        let provider = ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_http(bed.chain.http().parse()?)
            .erased();
        let (events, results, pool) = (listener(bed).await?, listener(bed).await?, listener(bed).await?);
        let key = development_key(SENDER_INDEX)?;
        let sender = key.address();
        let contracts = &bed.contracts;
        Ok(Self {
            chain_id: provider.get_chain_id().await?,
            nonce: provider.get_transaction_count(sender).await?,
            events: events.subscribe_logs(&Filter::new().address(contracts.trigger)).await?,
            results: results
                .subscribe_logs(&Filter::new().address(contracts.handler))
                .await?,
            pool: pool.subscribe_pending_transactions().await?,
            wallet: EthereumWallet::from(key),
            sender,
            trigger: contracts.trigger,
            chain_key: bed.chain.chain_key(),
            provider,
            _listeners: [events, results, pool],
        })
    }

    /// Fires `count` events, each after the result of the one before.
    pub(super) async fn fire(&mut self, count: u32, step: &Step) -> Result<Vec<Landing>> {
        let mut landings = Vec::new();
        for index in 0..count {
            landings.push(
                self.land(index)
                    .await
                    .with_context(|| format!("event {index} of {count}"))?,
            );
            step.advance(1);
            tokio::time::sleep(PACE).await;
        }
        Ok(landings)
    }

    /// The gas that both transactions of a landing used: the event's, the result's.
    pub(super) async fn gas(&self, landing: &Landing) -> Result<(u64, u64)> {
        let used = async |hash| {
            let receipt = self.provider.get_transaction_receipt(hash).await?;
            receipt
                .map(|receipt| receipt.gas_used)
                .context("a transaction has no receipt")
        };
        Ok((used(landing.transactions.0).await?, used(landing.transactions.1).await?))
    }

    async fn land(&mut self, index: u32) -> Result<Landing> {
        let raw = self.transaction(index).await?;
        let sent = Instant::now();
        // The answer and the notification come in either order.
        let (pending, heard) = tokio::join!(self.provider.send_raw_transaction(&raw), async {
            let log = self.events.recv().await;
            (log, Instant::now(), SystemTime::now())
        });
        drop(pending.context("the chain refused the event's transaction")?);
        let (log, fired, wall) = heard;
        let event = log.context("the subscription to events ended")?;
        let id = trigger_id(&event)?;
        let (result, landed, broadcast) = tokio::time::timeout(RESULT_LIMIT, self.result(id))
            .await
            .with_context(|| format!("no result within {RESULT_LIMIT:?}"))??;
        Ok(Landing {
            source: format!(
                "{}/{}/{}",
                self.chain_key,
                event.block_hash.context("the event is in no block")?,
                event.log_index.context("the event has no index")?
            ),
            fired_us: u64::try_from(wall.duration_since(UNIX_EPOCH)?.as_micros())?,
            bare: fired - sent,
            broadcast: broadcast.map(|at| at.saturating_duration_since(fired)),
            result: landed - fired,
            transactions: (
                event.transaction_hash.context("the event has no transaction")?,
                result.transaction_hash.context("the result has no transaction")?,
            ),
        })
    }

    /// Waits for the result with this id: its log, when it was heard, and when its transaction reached the pool.
    async fn result(&mut self, id: u64) -> Result<(Log, Instant, Option<Instant>)> {
        let mut pooled = HashMap::new();
        loop {
            tokio::select! {
                biased;
                hash = self.pool.recv() => {
                    pooled.insert(hash.context("the subscription to the pool ended")?, Instant::now());
                }
                log = self.results.recv() => {
                    let heard = Instant::now();
                    let log = log.context("the subscription to results ended")?;
                    if result_id(&log)? == id {
                        let broadcast = log.transaction_hash.and_then(|hash| pooled.get(&hash).copied());
                        return Ok((log, heard, broadcast));
                    }
                }
            }
        }
    }

    /// The next signed transaction. Everything is filled in, so that sending it is one request.
    async fn transaction(&mut self, index: u32) -> Result<Vec<u8>> {
        let data = format!("{{\"x\":{index}}}").into_bytes();
        let call = SimpleTrigger::addTriggerCall { data: data.into() };
        let request = TransactionRequest::default()
            .with_from(self.sender)
            .with_to(self.trigger)
            .with_chain_id(self.chain_id)
            .with_nonce(self.nonce)
            .with_gas_limit(GAS_LIMIT)
            .with_max_fee_per_gas(MAX_FEE)
            .with_max_priority_fee_per_gas(1)
            .with_input(call.abi_encode());
        let signed = NetworkTransactionBuilder::<Ethereum>::build(request, &self.wallet)
            .await
            .context("cannot sign the event's transaction")?;
        ensure!(signed.nonce() == self.nonce, "the signed transaction has another nonce");
        self.nonce += 1;
        Ok(signed.encoded_2718())
    }
}

/// A connection for one subscription.
pub(super) async fn listener(bed: &Bed) -> Result<DynProvider> {
    let socket = WsConnect::new(bed.chain.ws());
    Ok(ProviderBuilder::new().connect_ws(socket).await?.erased())
}

/// The id that the trigger contract gave to an event.
fn trigger_id(event: &Log) -> Result<u64> {
    /// What the trigger contract encodes: id, creator, data.
    type Info = (u64, Address, alloy::primitives::Bytes);
    let event = event
        .log_decode::<SimpleTrigger::NewTrigger>()
        .context("the event is no NewTrigger")?;
    let (id, _, _) = Info::abi_decode(&event.inner.data.data).context("the event has no trigger")?;
    Ok(id)
}

/// The id of the event that a result answers.
fn result_id(result: &Log) -> Result<u64> {
    let payload = alloy::primitives::Bytes::abi_decode(&result.data().data).context("the result has no payload")?;
    let result = DataWithId::abi_decode(&payload).context("the result is not a DataWithId")?;
    Ok(result.triggerId)
}
