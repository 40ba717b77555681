//! The example contracts with real signatures: a manager that verifies them and a handler that stores each event once.

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolValue};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use wavs_store::{Database, Migration};
use wavs_types::{EventId, SignatureAlgorithm, SignatureKind, SignaturePrefix};

use super::anvil::Anvil;
use super::{Key, chains, config, envelope, key};
use crate::chain::{
    AssessRequest, Assessment, Chains, CollectedSignature, LandedQuery, Outcome, PostingSigner, Simulation,
    SubmitRequest, TX_SCHEMA, Transactions, Verdict,
};

const MANAGER: &str = include_str!("../../../../examples/contracts/artifacts/WavsServiceManager.json");
const HANDLER: &str = include_str!("../../../../examples/contracts/artifacts/ServiceHandler.json");

alloy::sol! {
    function setOperator(address operator, uint256 weight, address signingKey);
    function removeOperator(address operator);
    function results(bytes20 eventId) returns (bytes);
}

struct Network {
    anvil: Anvil,
    chains: Chains,
    deployer: Address,
    manager: Address,
    handler: Address,
}

impl Network {
    /// Contracts and operators 1..=n with the given weights; quorum is two thirds.
    async fn new(weights: &[u64]) -> Self {
        let anvil = Anvil::start().await;
        let accounts: Vec<Address> = serde_json::from_value(anvil.request("eth_accounts", json!([])).await).unwrap();
        let deployer = accounts[1];
        let manager = deploy(&anvil, deployer, MANAGER, Vec::new()).await;
        let handler = deploy(&anvil, deployer, HANDLER, manager.abi_encode()).await;
        let chains = chains(config(&anvil.http()));
        let network = Self {
            anvil,
            chains,
            deployer,
            manager,
            handler,
        };
        for (n, weight) in (1..).zip(weights) {
            let call = setOperatorCall {
                operator: Address::repeat_byte(n),
                weight: U256::from(*weight),
                signingKey: operator(n).address(),
            };
            network.send(network.manager, call.abi_encode().into()).await;
        }
        // The newest registration counts from the block after it.
        network.anvil.mine(2).await;
        network
    }

    /// With gas to spare: checkpointed storage costs more in a new block than in the one that an estimate runs in.
    async fn send(&self, to: Address, data: Bytes) {
        self.anvil
            .transact(json!({"from": self.deployer, "to": to, "data": data, "gas": "0x200000"}))
            .await;
    }

    async fn assess(&self, event: u8, signatures: &[CollectedSignature]) -> Assessment {
        let request = AssessRequest {
            chain: &key(),
            handler: self.handler,
            envelope: &envelope(event),
            signatures,
            quarantined: &[],
            poster: Some(Key::funded().address()),
        };
        self.chains.assess(&request).await.unwrap()
    }

    async fn transactions(&self, folder: &std::path::Path, stop: &CancellationToken) -> Transactions {
        let migrations = [Migration::new("transactions", TX_SCHEMA)];
        let writer = Database::open(folder.join("ledger.db"), &migrations).unwrap().writer();
        Transactions::start(self.chains.clone(), writer, Some(Key::funded()), stop.clone())
            .await
            .unwrap()
    }

    async fn stored(&self, event: u8) -> Bytes {
        let call = resultsCall {
            eventId: [event; 20].into(),
        };
        let data = Bytes::from(call.abi_encode());
        let result = self
            .anvil
            .request("eth_call", json!([{"to": self.handler, "data": data}, "latest"]))
            .await;
        let result: Bytes = serde_json::from_value(result).unwrap();
        resultsCall::abi_decode_returns(&result).unwrap()
    }

    fn query(&self, event: u8) -> LandedQuery {
        LandedQuery {
            chain: key(),
            handler: self.handler,
            event_id: EventId::new([event; 20]),
            since_block: 0,
        }
    }
}

async fn deploy(anvil: &Anvil, from: Address, artefact: &str, arguments: Vec<u8>) -> Address {
    let artefact: serde_json::Value = serde_json::from_str(artefact).unwrap();
    let mut code = hex::decode(artefact["bytecode"].as_str().unwrap().trim_start_matches("0x")).unwrap();
    code.extend(arguments);
    let receipt = anvil.transact(json!({"from": from, "data": Bytes::from(code)})).await;
    receipt["contractAddress"].as_str().unwrap().parse().unwrap()
}

fn operator(n: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(n)).unwrap()
}

fn sign(event: u8, n: u8) -> CollectedSignature {
    let kind = SignatureKind {
        algorithm: SignatureAlgorithm::Secp256k1,
        prefix: Some(SignaturePrefix::Eip191),
    };
    let hash = envelope(event).signing_hash(kind);
    let key = operator(n);
    CollectedSignature {
        signer: key.address(),
        signature: key.sign_hash_sync(&hash).unwrap().as_bytes(),
    }
}

#[tokio::test]
async fn quorum_is_judged_as_the_chain_judges_it_and_lands_once() {
    let network = Network::new(&[34, 32, 33, 1]).await;
    let one = network.assess(1, &[sign(1, 1)]).await;
    assert_eq!(one.verdict, Verdict::BelowQuorum);
    assert_eq!(
        one.quorum.insufficient_text(),
        "Insufficient Quorum: weight 34 < threshold 66 (total weight: 100)"
    );

    // Exactly floor(100 * 2 / 3), in any order, with a stranger among them.
    let met = network.assess(1, &[sign(1, 9), sign(1, 2), sign(1, 1)]).await;
    assert_eq!(
        (met.verdict.clone(), met.quorum.signed),
        (Verdict::Sufficient, U256::from(66))
    );
    assert!(met.evicted.is_empty());
    let ready = met.ready.unwrap();
    assert!(ready.signers.is_sorted() && ready.signers.len() == 2);

    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let transactions = network.transactions(folder.path(), &stop).await;
    let request = SubmitRequest {
        target: "t".into(),
        ready,
        gas_price_hint: None,
        along: None,
    };
    let outcome = transactions.submit(request).await.unwrap().outcome().await;
    let Outcome::Mined(tx) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(network.stored(1).await, envelope(1).payload);
    assert_eq!(
        network.chains.landed(&network.query(1)).await.unwrap().unwrap().hash,
        tx.hash
    );

    let again = network.assess(1, &[sign(1, 1), sign(1, 2)]).await;
    let simulation = again.ready.unwrap().simulation;
    assert!(
        matches!(simulation, Simulation::Reverted(_)),
        "the handler stores an event once: {simulation:?}"
    );
    stop.cancel();
}

#[tokio::test]
async fn a_garbage_signature_of_a_member_is_evicted() {
    let network = Network::new(&[40, 40, 20]).await;
    let garbage = CollectedSignature {
        signature: sign(2, 1).signature,
        ..sign(1, 1)
    };
    let with_rest = network.assess(1, &[garbage, sign(1, 2), sign(1, 3)]).await;
    assert_eq!(with_rest.evicted, [operator(1).address()]);
    assert_eq!(with_rest.verdict, Verdict::BelowQuorum, "60 of 100 is left");
    let honest = network.assess(1, &[sign(1, 1), sign(1, 2), sign(1, 3)]).await;
    assert_eq!((honest.verdict, honest.evicted), (Verdict::Sufficient, Vec::new()));
}

#[tokio::test]
async fn a_member_that_leaves_stops_counting() {
    let network = Network::new(&[50, 30, 20]).await;
    let all = [sign(1, 1), sign(1, 2)];
    assert_eq!(network.assess(1, &all).await.verdict, Verdict::Sufficient);
    let call = removeOperatorCall {
        operator: Address::repeat_byte(1),
    };
    network.send(network.manager, call.abi_encode().into()).await;
    network.anvil.mine(2).await;
    let left = network.assess(1, &all).await;
    assert_eq!(
        (left.verdict, left.quorum.signed, left.quorum.total),
        (Verdict::BelowQuorum, U256::from(30), Some(U256::from(50)))
    );
}

#[tokio::test]
async fn an_event_delivered_by_somebody_else_is_noticed_and_the_nonce_freed() {
    let network = Network::new(&[100]).await;
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let transactions = network.transactions(folder.path(), &stop).await;
    network.anvil.request("evm_setAutomine", json!([false])).await;
    let ready = network.assess(1, &[sign(1, 1)]).await.ready.unwrap();
    let input = ready.input.clone();
    let request = SubmitRequest {
        target: "t".into(),
        ready,
        gas_price_hint: None,
        along: None,
    };
    let mut tracked = transactions.submit(request).await.unwrap();
    let ours = tracked.hash().unwrap();
    while network
        .anvil
        .request("eth_getTransactionByHash", json!([ours]))
        .await
        .is_null()
    {
        tokio::task::yield_now().await;
    }
    network.anvil.request("anvil_dropTransaction", json!([ours])).await;
    network.anvil.request("evm_setAutomine", json!([true])).await;
    network.send(network.handler, input).await;
    network.anvil.mine(1).await;
    let outcome = tracked.outcome().await;
    let Outcome::LandedElsewhere(landed) = outcome else {
        panic!("{outcome:?}")
    };
    assert_ne!(landed.hash, ours);
    assert_eq!(landed.digest, Some(envelope(1).digest()));
    let count = network
        .anvil
        .request("eth_getTransactionCount", json!([Key::funded().address(), "latest"]))
        .await;
    assert_eq!(count, "0x1", "the nonce is used up by a cancel");
    stop.cancel();
}
