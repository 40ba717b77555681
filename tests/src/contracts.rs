//! The example contracts, deployed from their committed artefacts.

use std::time::Duration;

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, Bytes, FixedBytes, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{BlockNumberOrTag, Filter, TransactionReceipt, TransactionRequest};
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use alloy::sol;
use alloy::sol_types::{SolEvent as _, SolValue};
use anyhow::{Context as _, Result, bail};

use crate::anvil::{Anvil, MNEMONIC};
use crate::tools;

sol! {
    /// Owner side and views of the example manager.
    #[sol(rpc)]
    interface ServiceManager {
        function setOperator(address operator, uint256 weight, address signingKey) external;
        function setQuorumThreshold(uint256 numerator, uint256 denominator) external;
        function setServiceURI(string calldata uri) external;
        function getServiceURI() external view returns (string memory);
    }

    /// The example handler, which keeps every verified result.
    #[sol(rpc)]
    interface ServiceHandler {
        function results(bytes20 eventId) external view returns (bytes memory);
        function handled(bytes20 eventId) external view returns (bool);
        function resultCount() external view returns (uint256);
        event ResultStored(bytes20 indexed eventId, bytes payload);
    }

    /// The example trigger contract.
    #[sol(rpc)]
    interface SimpleTrigger {
        function addTrigger(bytes calldata data) external returns (uint64 triggerId);
        function addMany(uint256 count, bytes calldata data) external;
        event NewTrigger(bytes data);
    }

    /// What the example components return for an event.
    struct DataWithId {
        uint64 triggerId;
        bytes data;
    }
}

/// The account that owns the contracts and fires events: not the one that the node posts from.
const OWNER_INDEX: u32 = 19;
/// Gas for what the owner sends, so that nothing is estimated.
const GAS_LIMIT: u64 = 5_000_000;

/// A result that the handler stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredResult {
    /// The event id.
    pub event_id: FixedBytes<20>,
    /// The number that the trigger contract gave the event, from 1 on.
    pub trigger_id: u64,
}

/// A manager, a handler and a trigger on one chain, and the account that owns them.
#[derive(Debug, Clone)]
pub struct Contracts {
    /// A client that signs as the owner.
    pub provider: DynProvider,
    /// The service manager.
    pub manager: Address,
    /// The handler that keeps results.
    pub handler: Address,
    /// The contract whose events trigger.
    pub trigger: Address,
}

impl Contracts {
    /// Deploys all three.
    ///
    /// # Errors
    /// When an artefact is missing or the chain refuses.
    pub async fn deploy(chain: &Anvil) -> Result<Self> {
        let provider = owner(&chain.http())?;
        let manager = deploy(&provider, "WavsServiceManager", &[]).await?;
        let handler = deploy(&provider, "ServiceHandler", &manager.abi_encode()).await?;
        let trigger = deploy(&provider, "SimpleTrigger", &[]).await?;
        Ok(Self {
            provider,
            manager,
            handler,
            trigger,
        })
    }

    /// Those that are on a chain already.
    ///
    /// # Errors
    /// When the endpoint is not a URL.
    pub fn at(http: &str, manager: Address, handler: Address, trigger: Address) -> Result<Self> {
        Ok(Self {
            provider: owner(http)?,
            manager,
            handler,
            trigger,
        })
    }

    /// Registers a signing key with a weight; the operator's own address is derived from it.
    ///
    /// # Errors
    /// When the chain refuses.
    pub async fn register(&self, signing_key: Address, weight: u64) -> Result<()> {
        let mut operator = signing_key.into_array();
        operator[0] ^= 0xff;
        let manager = ServiceManager::new(self.manager, &self.provider);
        let call = manager
            .setOperator(operator.into(), U256::from(weight), signing_key)
            .gas(GAS_LIMIT);
        mined(call.send().await?.get_receipt().await?, "setOperator").map(drop)
    }

    /// Sets the share of the weight that a result needs.
    ///
    /// # Errors
    /// When the chain refuses.
    pub async fn set_quorum(&self, numerator: u64, denominator: u64) -> Result<()> {
        let manager = ServiceManager::new(self.manager, &self.provider);
        let call = manager
            .setQuorumThreshold(U256::from(numerator), U256::from(denominator))
            .gas(GAS_LIMIT);
        mined(call.send().await?.get_receipt().await?, "setQuorumThreshold").map(drop)
    }

    /// Points the manager at a service document.
    ///
    /// # Errors
    /// When the chain refuses.
    pub async fn set_service_uri(&self, uri: &str) -> Result<()> {
        let manager = ServiceManager::new(self.manager, &self.provider);
        let receipt = manager
            .setServiceURI(uri.to_owned())
            .gas(GAS_LIMIT)
            .send()
            .await?
            .get_receipt()
            .await?;
        mined(receipt, "setServiceURI").map(drop)
    }

    /// A further contract that takes the manager's address, such as another handler.
    ///
    /// # Errors
    /// When the artefact is missing or the chain refuses.
    pub async fn deploy_handler(&self, name: &str) -> Result<Address> {
        deploy(&self.provider, name, &self.manager.abi_encode()).await
    }

    /// Emits one event and answers its receipt.
    ///
    /// # Errors
    /// When the chain refuses.
    pub async fn fire(&self, data: &[u8]) -> Result<TransactionReceipt> {
        let trigger = SimpleTrigger::new(self.trigger, &self.provider);
        let call = trigger.addTrigger(Bytes::copy_from_slice(data)).gas(GAS_LIMIT);
        mined(call.send().await?.get_receipt().await?, "addTrigger")
    }

    /// Sends a transaction that emits `count` events and does not wait for its block.
    ///
    /// # Errors
    /// When the chain does not take it.
    pub async fn emit(&self, count: u64, data: &[u8]) -> Result<()> {
        let trigger = SimpleTrigger::new(self.trigger, &self.provider);
        let call = trigger
            .addMany(U256::from(count), Bytes::copy_from_slice(data))
            .gas(GAS_LIMIT);
        call.send().await.map(drop).context("the chain refused an event")
    }

    /// Everything that the handler stored, in the order of the chain.
    ///
    /// # Errors
    /// When the chain does not answer or a result is not wrapped as expected.
    pub async fn results(&self) -> Result<Vec<StoredResult>> {
        let filter = Filter::new()
            .address(self.handler)
            .event_signature(ServiceHandler::ResultStored::SIGNATURE_HASH)
            .from_block(BlockNumberOrTag::Earliest);
        let logs = self.provider.get_logs(&filter).await?;
        let result = |log: alloy::rpc::types::Log| {
            let stored = log.log_decode::<ServiceHandler::ResultStored>()?.inner.data;
            let wrapped = DataWithId::abi_decode(&stored.payload).context("the stored result is not a DataWithId")?;
            Ok(StoredResult {
                event_id: stored.eventId,
                trigger_id: wrapped.triggerId,
            })
        };
        logs.into_iter().map(result).collect()
    }

    /// Transactions to the handler that were reverted: paid for in vain.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn reverted(&self) -> Result<u64> {
        let mut reverted = 0;
        for height in 1..=self.provider.get_block_number().await? {
            let receipts = self.provider.get_block_receipts(height.into()).await?;
            let in_vain = |receipt: &&TransactionReceipt| receipt.to == Some(self.handler) && !receipt.status();
            reverted += receipts.iter().flatten().filter(in_vain).count() as u64;
        }
        Ok(reverted)
    }

    /// The stored result of an event, taken out of its wrapping; `None` before it landed.
    ///
    /// # Errors
    /// When the chain does not answer or the result is not wrapped as expected.
    pub async fn result(&self, event_id: FixedBytes<20>) -> Result<Option<Bytes>> {
        let handler = ServiceHandler::new(self.handler, &self.provider);
        if !handler.handled(event_id).call().await? {
            return Ok(None);
        }
        let stored = handler.results(event_id).call().await?;
        let wrapped = DataWithId::abi_decode(&stored).context("the stored result is not a DataWithId")?;
        Ok(Some(wrapped.data))
    }

    /// How many results landed.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn result_count(&self) -> Result<u64> {
        let count = ServiceHandler::new(self.handler, &self.provider)
            .resultCount()
            .call()
            .await?;
        u64::try_from(count).context("more results than fit 64 bits")
    }
}

/// A client that signs as the owner of the contracts.
fn owner(http: &str) -> Result<DynProvider> {
    let provider = ProviderBuilder::new()
        .wallet(EthereumWallet::from(development_key(OWNER_INDEX)?))
        .connect_http(http.parse()?);
    provider.client().set_poll_interval(Duration::from_millis(10));
    Ok(provider.erased())
}

/// A key of the development phrase.
///
/// # Errors
/// Never for the constant phrase.
pub fn development_key(index: u32) -> Result<PrivateKeySigner> {
    let builder = MnemonicBuilder::<English>::default().phrase(MNEMONIC).index(index)?;
    builder.build().context("cannot derive a development key")
}

/// Deploys a contract of `examples/contracts/artifacts`.
///
/// # Errors
/// When the artefact is missing or the chain refuses.
pub async fn deploy(provider: &impl Provider, name: &str, constructor: &[u8]) -> Result<Address> {
    let path = tools::example(&format!("contracts/artifacts/{name}.json"));
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let artefact: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let bytecode = artefact["bytecode"]
        .as_str()
        .with_context(|| format!("{} has no bytecode", path.display()))?;
    let code: Bytes = bytecode
        .parse()
        .with_context(|| format!("the bytecode in {} is not hex", path.display()))?;
    let code = [code.as_ref(), constructor].concat();
    let request = TransactionRequest::default()
        .with_deploy_code(code)
        .with_gas_limit(GAS_LIMIT);
    let receipt = mined(provider.send_transaction(request).await?.get_receipt().await?, name)?;
    receipt
        .contract_address
        .with_context(|| format!("{name} has no address"))
}

fn mined(receipt: TransactionReceipt, what: &str) -> Result<TransactionReceipt> {
    if !receipt.status() {
        bail!("{what} was reverted in transaction {}", receipt.transaction_hash);
    }
    Ok(receipt)
}
