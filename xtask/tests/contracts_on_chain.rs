//! The example contracts on a real chain: what a manager accepts, and with which error it refuses the rest.

use std::path::Path;

use alloy::primitives::{Address, Bytes, FixedBytes, U256, hex, keccak256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol;
use alloy::sol_types::{SolError, SolEvent, SolValue};
use e2e::anvil::Anvil;

sol! {
    #[derive(Debug)]
    struct Envelope { bytes20 eventId; bytes12 ordering; bytes payload; }
    #[derive(Debug)]
    struct SignatureData { address[] signers; bytes[] signatures; uint32 referenceBlock; }
    #[derive(Debug)]
    struct TriggerInfo { uint64 triggerId; address creator; bytes data; }

    #[sol(rpc)]
    interface Manager {
        error InsufficientQuorum(uint256 signed, uint256 threshold, uint256 total);
        error InsufficientQuorumZero();
        error InsufficientSignedStake();
        error InvalidSignatureLength();
        error InvalidSignatureBlock();
        error InvalidSignature();
        error SignerNotRegistered();
        error NotSorted();
        error NotOwner(address caller);
        error SigningKeyTaken(address signingKey, address operator);
        error InvalidQuorumParameters();
        error InvalidReferenceBlock();
        function validate(Envelope calldata envelope, SignatureData calldata signatures) external view;
        function setOperator(address operator, uint256 weight, address signingKey) external;
        function removeOperator(address operator) external;
        function setThresholdWeight(uint256 weight) external;
        function setQuorumThreshold(uint256 numerator, uint256 denominator) external;
        function setServiceURI(string uri) external;
        function getServiceURI() external view returns (string);
        function getStakeRegistry() external view returns (address);
        function getOperatorWeight(address operator) external view returns (uint256);
        function getLatestOperatorForSigningKey(address key) external view returns (address);
        function getOperatorSigningKeyAtBlock(address operator, uint256 number) external view returns (address);
        function getOperatorForSigningKeyAtBlock(address key, uint256 number) external view returns (address);
        function getOperatorWeightAtBlock(address operator, uint32 number) external view returns (uint256);
    }

    #[sol(rpc)]
    interface Handler {
        error AlreadyHandled(bytes20 eventId);
        error Refused(bytes20 eventId);
        event ResultStored(bytes20 indexed eventId, bytes payload);
        function handleSignedEnvelope(Envelope calldata envelope, SignatureData calldata signatures) external;
        function getServiceManager() external view returns (address);
        function results(bytes20 eventId) external view returns (bytes);
        function handled(bytes20 eventId) external view returns (bool);
    }

    #[sol(rpc)]
    interface Trigger {
        event NewTrigger(bytes triggerInfo);
        function addTrigger(bytes data) external returns (uint64);
        function addMany(uint256 count, bytes data) external;
        function getTrigger(uint64 id) external view returns (TriggerInfo memory);
    }
}

/// A chain with a manager, and signing keys in ascending order of their addresses.
struct Setup {
    _anvil: Anvil,
    provider: DynProvider,
    manager: Manager::ManagerInstance<DynProvider>,
    keys: Vec<PrivateKeySigner>,
}

impl Setup {
    async fn new() -> Self {
        let anvil = Anvil::start().await.unwrap();
        let mut keys: Vec<_> = (1..=4_u8)
            .map(|byte| PrivateKeySigner::from_slice(&[byte; 32]).unwrap())
            .collect();
        keys.sort_by_key(PrivateKeySigner::address);
        let owner = PrivateKeySigner::from_bytes(&FixedBytes(OWNER)).unwrap();
        let provider = ProviderBuilder::new()
            .wallet(owner)
            .connect_http(anvil.http().parse().unwrap())
            .erased();
        let manager = Manager::new(deploy(&provider, "WavsServiceManager", &[]).await, provider.clone());
        Self {
            _anvil: anvil,
            provider,
            manager,
            keys,
        }
    }

    /// Register one operator for each weight; returns a block as of which they count.
    async fn operators(&self, weights: &[u64]) -> u32 {
        for (index, weight) in weights.iter().enumerate() {
            send(
                self.manager
                    .setOperator(operator(index), U256::from(*weight), self.keys[index].address()),
            )
            .await;
        }
        self.past_block().await
    }

    async fn past_block(&self) -> u32 {
        let head = self.provider.get_block_number().await.unwrap();
        self.mine().await;
        u32::try_from(head).unwrap()
    }

    async fn mine(&self) {
        let _: serde_json::Value = self.provider.raw_request("evm_mine".into(), ()).await.unwrap();
    }

    fn sign(&self, envelope: &Envelope, signers: &[usize], reference: u32) -> SignatureData {
        let digest = keccak256(envelope.abi_encode());
        let signature = |index: &usize| self.keys[*index].sign_message_sync(digest.as_slice()).unwrap();
        SignatureData {
            signers: signers.iter().map(|index| self.keys[*index].address()).collect(),
            signatures: signers
                .iter()
                .map(|index| Bytes::from(signature(index).as_bytes()))
                .collect(),
            referenceBlock: reference,
        }
    }

    /// The error data with which the manager refuses; none if it accepts.
    async fn refusal(&self, envelope: &Envelope, signatures: &SignatureData) -> Option<Bytes> {
        let result = self.manager.validate(envelope.clone(), signatures.clone()).call().await;
        result.err().map(|error| {
            error
                .as_revert_data()
                .unwrap_or_else(|| panic!("no revert data: {error}"))
        })
    }

    async fn assert_refused<E: SolError>(&self, signatures: &SignatureData) {
        let data = self
            .refusal(&envelope(), signatures)
            .await
            .unwrap_or_else(|| panic!("accepted, not {}", E::SIGNATURE));
        assert_eq!(data[..4], E::SELECTOR, "expected {}, got {data}", E::SIGNATURE);
    }
}

/// The first account of the development phrase.
const OWNER: [u8; 32] = hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

fn operator(index: usize) -> Address {
    Address::repeat_byte(0xa0 + u8::try_from(index).unwrap())
}

fn envelope() -> Envelope {
    Envelope {
        eventId: FixedBytes([1; 20]),
        ordering: FixedBytes([0; 12]),
        payload: Bytes::from_static(&[1, 2, 3]),
    }
}

async fn deploy(provider: &DynProvider, name: &str, arguments: &[u8]) -> Address {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/contracts/artifacts/{name}.json"));
    let artifact: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut code = hex::decode(artifact["bytecode"].as_str().unwrap()).unwrap();
    code.extend_from_slice(arguments);
    let request = alloy::rpc::types::TransactionRequest::default();
    let request = alloy::network::TransactionBuilder::with_deploy_code(request, code);
    let receipt = provider
        .send_transaction(request)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    assert!(receipt.status());
    receipt.contract_address.unwrap()
}

async fn send<C: alloy::contract::CallDecoder>(call: alloy::contract::CallBuilder<&DynProvider, C>) {
    assert!(call.send().await.unwrap().get_receipt().await.unwrap().status());
}

fn refused<T, E: SolError>(result: Result<T, alloy::contract::Error>) {
    let data = result.err().unwrap().as_revert_data().unwrap();
    assert_eq!(data[..4], E::SELECTOR, "expected {}, got {data}", E::SIGNATURE);
}

#[tokio::test]
async fn a_quorum_is_a_share_of_the_weight() {
    let chain = Setup::new().await;
    let before = chain.past_block().await;
    chain
        .assert_refused::<Manager::SignerNotRegistered>(&chain.sign(&envelope(), &[0], before))
        .await;
    let reference = chain.operators(&[33, 33, 34]).await;

    for (signers, enough) in [(&[0, 1][..], true), (&[0, 2], true), (&[0, 1, 2], true), (&[2], false)] {
        let refusal = chain
            .refusal(&envelope(), &chain.sign(&envelope(), signers, reference))
            .await;
        assert_eq!(refusal.is_none(), enough, "{signers:?} {refusal:?}");
    }
    let refusal = chain
        .refusal(&envelope(), &chain.sign(&envelope(), &[2], reference))
        .await
        .unwrap();
    let words = Manager::InsufficientQuorum::abi_decode(&refusal).unwrap();
    assert_eq!(
        [words.signed, words.threshold, words.total],
        [34, 66, 100].map(U256::from)
    );

    send(chain.manager.setThresholdWeight(U256::from(80))).await;
    let reference = chain.past_block().await;
    chain
        .assert_refused::<Manager::InsufficientSignedStake>(&chain.sign(&envelope(), &[0, 1], reference))
        .await;

    send(chain.manager.setThresholdWeight(U256::ZERO)).await;
    send(chain.manager.setQuorumThreshold(U256::from(1), U256::from(1))).await;
    let reference = chain.past_block().await;
    chain
        .assert_refused::<Manager::InsufficientQuorum>(&chain.sign(&envelope(), &[0, 1], reference))
        .await;
    for (numerator, denominator) in [(0, 1), (1, 0), (2, 1)] {
        let call = chain
            .manager
            .setQuorumThreshold(U256::from(numerator), U256::from(denominator));
        refused::<_, Manager::InvalidQuorumParameters>(call.call().await);
    }
}

#[tokio::test]
async fn operators_without_weight_are_no_quorum() {
    let chain = Setup::new().await;
    let reference = chain.operators(&[0]).await;
    chain
        .assert_refused::<Manager::InsufficientQuorumZero>(&chain.sign(&envelope(), &[0], reference))
        .await;
}

#[tokio::test]
async fn malformed_signature_data_is_refused_in_order() {
    let chain = Setup::new().await;
    let reference = chain.operators(&[1, 1, 1]).await;
    let good = chain.sign(&envelope(), &[0, 1, 2], reference);
    assert!(chain.refusal(&envelope(), &good).await.is_none());

    let empty = SignatureData {
        signers: vec![],
        signatures: vec![],
        referenceBlock: u32::MAX,
    };
    chain.assert_refused::<Manager::InvalidSignatureLength>(&empty).await;
    let mut short = good.clone();
    short.signatures.pop();
    chain.assert_refused::<Manager::InvalidSignatureLength>(&short).await;

    let head = u32::try_from(chain.provider.get_block_number().await.unwrap()).unwrap();
    for block in [head + 1, head + 2, u32::MAX] {
        let early = SignatureData {
            referenceBlock: block,
            ..good.clone()
        };
        chain.assert_refused::<Manager::InvalidSignatureBlock>(&early).await;
    }

    chain
        .assert_refused::<Manager::SignerNotRegistered>(&chain.sign(&envelope(), &[0, 1, 3], reference))
        .await;
    chain
        .assert_refused::<Manager::NotSorted>(&chain.sign(&envelope(), &[1, 0], reference))
        .await;
    chain
        .assert_refused::<Manager::NotSorted>(&chain.sign(&envelope(), &[0, 0], reference))
        .await;

    let mut swapped = good.clone();
    swapped.signatures.swap(0, 1);
    chain.assert_refused::<Manager::InvalidSignature>(&swapped).await;
    let other = Envelope {
        payload: Bytes::from_static(&[9]),
        ..envelope()
    };
    let foreign = chain.sign(&other, &[0, 1, 2], reference);
    chain.assert_refused::<Manager::InvalidSignature>(&foreign).await;
}

#[tokio::test]
async fn only_the_canonical_form_of_a_signature_counts() {
    let chain = Setup::new().await;
    let reference = chain.operators(&[1]).await;
    let good = chain.sign(&envelope(), &[0], reference);
    let bytes = good.signatures[0].to_vec();
    let with = |bytes: Vec<u8>| SignatureData {
        signatures: vec![bytes.into()],
        ..good.clone()
    };

    let order = U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let mut high = bytes.clone();
    let s = U256::from_be_slice(&bytes[32..64]);
    high[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
    high[64] ^= 27 ^ 28;
    let mut parity = bytes.clone();
    parity[64] -= 27;
    let mut long = bytes.clone();
    long.push(0);
    for mangled in [high, parity, long, bytes[..64].to_vec(), vec![], vec![0; 65]] {
        chain.assert_refused::<Manager::InvalidSignature>(&with(mangled)).await;
    }
}

#[tokio::test]
async fn a_published_vector_is_accepted() {
    let chain = Setup::new().await;
    // Account 1 of the development phrase over this very envelope.
    let signer: Address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap();
    let signature = hex!(
        "ee830dd975c7b3769b2de7bdee0279c94034ec66826ff65606a8eae211cce5e9"
        "64b351eb6abe8c7fdea6481972d67c0ff30ea066e4dbd752d2b839915ec8ad421b"
    );
    send(chain.manager.setOperator(operator(0), U256::from(1), signer)).await;
    let reference = chain.past_block().await;
    let data = SignatureData {
        signers: vec![signer],
        signatures: vec![signature.into()],
        referenceBlock: reference,
    };
    assert!(chain.refusal(&envelope(), &data).await.is_none());
}

#[tokio::test]
async fn the_past_keeps_its_operators() {
    let chain = Setup::new().await;
    let (manager, keys) = (&chain.manager, &chain.keys);
    let old = chain.operators(&[5, 5]).await;
    refused::<_, Manager::SigningKeyTaken>(
        manager
            .setOperator(operator(0), U256::from(5), keys[1].address())
            .call()
            .await,
    );

    // The first operator rotates its key; the second one leaves.
    send(manager.setOperator(operator(0), U256::from(7), keys[2].address())).await;
    send(manager.removeOperator(operator(1))).await;
    let new = chain.past_block().await;

    assert!(
        chain
            .refusal(&envelope(), &chain.sign(&envelope(), &[0, 1], old))
            .await
            .is_none()
    );
    assert!(
        chain
            .refusal(&envelope(), &chain.sign(&envelope(), &[2], new))
            .await
            .is_none()
    );
    for signers in [[0], [1]] {
        chain
            .assert_refused::<Manager::SignerNotRegistered>(&chain.sign(&envelope(), &signers, new))
            .await;
    }

    let key_at = async |block: u32| {
        manager
            .getOperatorSigningKeyAtBlock(operator(0), U256::from(block))
            .call()
            .await
            .unwrap()
    };
    assert_eq!(
        [key_at(old).await, key_at(new).await],
        [keys[0].address(), keys[2].address()]
    );
    let weight_at = async |block| {
        manager
            .getOperatorWeightAtBlock(operator(0), block)
            .call()
            .await
            .unwrap()
    };
    assert_eq!([weight_at(old).await, weight_at(new).await], [5, 7].map(U256::from));
    let user = |key: Address, block: u32| manager.getOperatorForSigningKeyAtBlock(key, U256::from(block));
    assert_eq!(user(keys[1].address(), old).call().await.unwrap(), operator(1));
    assert_eq!(user(keys[1].address(), new).call().await.unwrap(), Address::ZERO);
    assert_eq!(
        manager
            .getLatestOperatorForSigningKey(keys[2].address())
            .call()
            .await
            .unwrap(),
        operator(0)
    );
    assert_eq!(manager.getOperatorWeight(operator(1)).call().await.unwrap(), U256::ZERO);
    refused::<_, Manager::InvalidReferenceBlock>(manager.getOperatorWeightAtBlock(operator(0), u32::MAX).call().await);
}

#[tokio::test]
async fn only_the_owner_changes_the_service() {
    let chain = Setup::new().await;
    send(chain.manager.setServiceURI("http://127.0.0.1/service.json".into())).await;
    assert_eq!(
        chain.manager.getServiceURI().call().await.unwrap(),
        "http://127.0.0.1/service.json"
    );
    assert_eq!(
        chain.manager.getStakeRegistry().call().await.unwrap(),
        *chain.manager.address()
    );
    let stranger = Address::repeat_byte(9);
    refused::<_, Manager::NotOwner>(chain.manager.setServiceURI("x".into()).from(stranger).call().await);
    refused::<_, Manager::NotOwner>(chain.manager.removeOperator(operator(0)).from(stranger).call().await);
}

#[tokio::test]
async fn a_handler_takes_an_event_once() {
    let chain = Setup::new().await;
    let reference = chain.operators(&[1]).await;
    let constructor = chain.manager.address().abi_encode();
    let handler = Handler::new(
        deploy(&chain.provider, "ServiceHandler", &constructor).await,
        chain.provider.clone(),
    );
    assert_eq!(
        handler.getServiceManager().call().await.unwrap(),
        *chain.manager.address()
    );

    let data = chain.sign(&envelope(), &[0], reference);
    let forged = SignatureData {
        signatures: vec![vec![0; 65].into()],
        ..data.clone()
    };
    refused::<_, Manager::InvalidSignature>(handler.handleSignedEnvelope(envelope(), forged).call().await);

    let pending = handler
        .handleSignedEnvelope(envelope(), data.clone())
        .send()
        .await
        .unwrap();
    let receipt = pending.get_receipt().await.unwrap();
    let stored = Handler::ResultStored::decode_log(&receipt.logs()[0].inner).unwrap();
    assert_eq!(
        (stored.eventId, &stored.payload),
        (envelope().eventId, &envelope().payload)
    );
    assert_eq!(
        handler.results(envelope().eventId).call().await.unwrap(),
        envelope().payload
    );
    assert!(handler.handled(envelope().eventId).call().await.unwrap());
    refused::<_, Handler::AlreadyHandled>(handler.handleSignedEnvelope(envelope(), data.clone()).call().await);

    let address = deploy(&chain.provider, "RevertingHandler", &constructor).await;
    let reverting = Handler::new(address, chain.provider.clone());
    refused::<_, Handler::Refused>(reverting.handleSignedEnvelope(envelope(), data).call().await);
}

#[tokio::test]
async fn a_trigger_announces_what_it_keeps() {
    let chain = Setup::new().await;
    let trigger = Trigger::new(
        deploy(&chain.provider, "SimpleTrigger", &[]).await,
        chain.provider.clone(),
    );
    let pending = trigger.addTrigger(Bytes::from_static(b"hello")).send().await.unwrap();
    let receipt = pending.get_receipt().await.unwrap();
    let event = Trigger::NewTrigger::decode_log(&receipt.logs()[0].inner).unwrap();
    let info = TriggerInfo::abi_decode(&event.triggerInfo).unwrap();
    assert_eq!(
        (info.triggerId, info.creator, &info.data[..]),
        (1, receipt.from, &b"hello"[..])
    );
    assert_eq!(trigger.getTrigger(1).call().await.unwrap().data, info.data);

    let pending = trigger
        .addMany(U256::from(3), Bytes::from_static(b"x"))
        .send()
        .await
        .unwrap();
    assert_eq!(pending.get_receipt().await.unwrap().logs().len(), 3);
    assert_eq!(trigger.getTrigger(4).call().await.unwrap().triggerId, 4);
    assert_eq!(trigger.getTrigger(5).call().await.unwrap().triggerId, 0);
}
