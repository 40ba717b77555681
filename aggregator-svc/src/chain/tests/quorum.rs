//! Verdicts: every error of a manager, low heights, wrong contracts, and that a guess from the cache is never trusted.

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolError;

use super::anvil::Anvil;
use super::scripted::{self, Script};
use super::{Key, chains, config, envelope, key, signatures};
use crate::chain::contracts::{IWavsServiceHandler, IWavsServiceManager, ManagerErrors};
use crate::chain::{AssessRequest, Assessment, ChainError, Chains, PostingSigner, Simulation, Verdict};

const HANDLER: Address = Address::repeat_byte(0xaa);
const MANAGER: Address = Address::repeat_byte(0xbb);

async fn start(manager: &Script, handler: &Script) -> (Anvil, Chains) {
    let anvil = Anvil::start().await;
    anvil.set_code(MANAGER, manager.code()).await;
    anvil.set_code(HANDLER, handler.code()).await;
    anvil.mine(5).await;
    let chains = chains(config(&anvil.http()));
    (anvil, chains)
}

async fn assess(chains: &Chains, signers: &[u8]) -> Result<Assessment, ChainError> {
    let request = AssessRequest {
        chain: &key(),
        handler: HANDLER,
        envelope: &envelope(1),
        signatures: &signatures(signers),
        quarantined: &[],
        poster: Some(Key::funded().address()),
    };
    chains.assess(&request).await
}

#[tokio::test]
async fn a_sufficient_set_is_ready_to_post() {
    let (_anvil, chains) = start(&scripted::manager(40, 100), &scripted::handler(MANAGER)).await;
    // The second one is judged by the guess that the first one's facts still hold.
    for _ in 0..2 {
        let assessment = assess(&chains, &[3, 1, 2]).await.unwrap();
        assert_eq!(assessment.verdict, Verdict::Sufficient);
        assert_eq!(assessment.manager, MANAGER);
        assert_eq!(assessment.snapshot.contract_number, assessment.snapshot.number);
        assert_eq!(assessment.quorum.signed, U256::from(120));
        let ready = assessment.ready.unwrap();
        assert_eq!(u64::from(ready.reference_block), assessment.snapshot.number - 1);
        assert_eq!(
            ready.signers,
            [Address::repeat_byte(1), Address::repeat_byte(2)],
            "smallest set, ascending"
        );
        assert!(matches!(ready.simulation, Simulation::Passed { gas } if gas > 21_000));
    }
}

#[tokio::test]
async fn below_quorum_collects_on() {
    let (_anvil, chains) = start(&scripted::manager(40, 100), &scripted::handler(MANAGER)).await;
    let assessment = assess(&chains, &[1]).await.unwrap();
    assert_eq!(assessment.verdict, Verdict::BelowQuorum);
    assert!(assessment.ready.is_none());
    assert_eq!(
        assessment.quorum.insufficient_text(),
        "Insufficient Quorum: weight 40 < threshold 66 (total weight: 100)"
    );
}

#[tokio::test]
async fn a_guess_is_checked_at_the_pinned_block() {
    let (anvil, chains) = start(&scripted::manager(40, 100), &scripted::handler(MANAGER)).await;
    assert_eq!(assess(&chains, &[1, 2]).await.unwrap().verdict, Verdict::Sufficient);

    anvil
        .set_code(
            MANAGER,
            scripted::manager(10, 100)
                .reverts::<IWavsServiceManager::validateCall>(below())
                .code(),
        )
        .await;
    anvil.mine(1).await;
    assert_eq!(
        assess(&chains, &[1, 2]).await.unwrap().verdict,
        Verdict::BelowQuorum,
        "weights changed"
    );

    let other = Address::repeat_byte(0xcc);
    anvil.set_code(other, scripted::manager(100, 100).code()).await;
    anvil.set_code(HANDLER, scripted::handler(other).code()).await;
    anvil.mine(1).await;
    let assessment = assess(&chains, &[1, 2]).await.unwrap();
    assert_eq!(
        (assessment.verdict, assessment.manager),
        (Verdict::Sufficient, other),
        "the handler has a new manager"
    );
}

#[tokio::test]
async fn each_manager_error_has_its_reaction() {
    type Expect = fn(&Verdict) -> bool;
    let table: [(Vec<u8>, Expect); 10] = [
        (below(), |v| *v == Verdict::BelowQuorum),
        (ManagerErrors::InsufficientSignedStake {}.abi_encode(), |v| {
            *v == Verdict::BelowQuorum
        }),
        (ManagerErrors::InsufficientQuorumZero {}.abi_encode(), |v| {
            *v == Verdict::NoOperators
        }),
        (ManagerErrors::NotSorted {}.abi_encode(), |v| {
            matches!(v, Verdict::Malformed(_))
        }),
        (ManagerErrors::InvalidSignatureOrder {}.abi_encode(), |v| {
            matches!(v, Verdict::Malformed(_))
        }),
        (ManagerErrors::InvalidSignatureLength {}.abi_encode(), |v| {
            matches!(v, Verdict::Malformed(_))
        }),
        (ManagerErrors::InvalidReferenceBlock {}.abi_encode(), |v| {
            *v == Verdict::WaitForBlock
        }),
        (ManagerErrors::InvalidSignatureBlock {}.abi_encode(), |v| {
            *v == Verdict::WaitForBlock
        }),
        (ManagerErrors::InvalidSignedWeight {}.abi_encode(), |v| {
            matches!(v, Verdict::RegistryInconsistent(_))
        }),
        (vec![0xde, 0xad, 0xbe, 0xef], |v| matches!(v, Verdict::ManagerFault(_))),
    ];
    let (anvil, chains) = start(&scripted::manager(40, 100), &scripted::handler(MANAGER)).await;
    for (data, expect) in table {
        let manager = scripted::manager(40, 100).reverts::<IWavsServiceManager::validateCall>(data.clone());
        anvil.set_code(MANAGER, manager.code()).await;
        anvil.mine(1).await;
        let verdict = assess(&chains, &[1, 2, 3]).await.unwrap().verdict;
        assert!(expect(&verdict), "0x{}: {verdict:?}", hex::encode(data));
    }
}

#[tokio::test]
async fn refused_signers_are_evicted_and_the_rest_decides() {
    let refusing = scripted::manager(40, 100)
        .reverts::<IWavsServiceManager::validateCall>(ManagerErrors::SignerNotRegistered {}.abi_encode());
    let (_anvil, chains) = start(&refusing, &scripted::handler(MANAGER)).await;
    let assessment = assess(&chains, &[1, 2, 3]).await.unwrap();
    assert_eq!(assessment.verdict, Verdict::BelowQuorum, "nobody is left");
    assert_eq!(assessment.evicted.len(), 2, "only those that were asked about");
}

#[tokio::test]
async fn the_first_blocks_have_no_reference_block() {
    let anvil = Anvil::start().await;
    anvil.set_code(MANAGER, scripted::manager(100, 100).code()).await;
    anvil.set_code(HANDLER, scripted::handler(MANAGER).code()).await;
    let chains = chains(config(&anvil.http()));
    let mut references = Vec::new();
    for _ in 0..4 {
        let assessment = assess(&chains, &[1]).await.unwrap();
        references.push(assessment.ready.map(|ready| ready.reference_block));
        anvil.mine(1).await;
    }
    assert_eq!(references, [None, None, Some(1), Some(2)]);
}

#[tokio::test]
async fn wrong_contracts_are_named() {
    let zero = scripted::handler(Address::ZERO);
    let (anvil, chains) = start(&scripted::manager(100, 100), &zero).await;
    assert!(matches!(assess(&chains, &[1]).await, Err(ChainError::NoManager { .. })));

    anvil
        .set_code(
            HANDLER,
            Script::default()
                .accepts::<IWavsServiceHandler::handleSignedEnvelopeCall>()
                .code(),
        )
        .await;
    anvil.mine(1).await;
    let error = assess(&chains, &[1]).await.unwrap_err();
    assert!(error.to_string().contains("getServiceManager() of handler"), "{error}");

    anvil.set_code(HANDLER, Vec::new().into()).await;
    anvil.mine(1).await;
    assert!(matches!(assess(&chains, &[1]).await, Err(ChainError::NoCode { address, .. }) if address == HANDLER));

    anvil
        .set_code(HANDLER, scripted::handler(Address::repeat_byte(0xdd)).code())
        .await;
    anvil.mine(1).await;
    let error = assess(&chains, &[1]).await.unwrap_err();
    assert!(
        matches!(error, ChainError::NoCode { address, .. } if address == Address::repeat_byte(0xdd)),
        "{error}"
    );
}

#[tokio::test]
async fn a_reverting_handler_is_seen_before_anything_is_sent() {
    let handler = scripted::handler(MANAGER)
        .reverts::<IWavsServiceHandler::handleSignedEnvelopeCall>(vec![0xca, 0xfe, 0xba, 0xbe]);
    let (_anvil, chains) = start(&scripted::manager(100, 100), &handler).await;
    let assessment = assess(&chains, &[1]).await.unwrap();
    assert_eq!(assessment.verdict, Verdict::Sufficient);
    let Simulation::Reverted(revert) = assessment.ready.unwrap().simulation else {
        panic!("not reverted")
    };
    assert_eq!(revert.to_string(), "custom error 0xcafebabe");
}

fn below() -> Vec<u8> {
    let one = U256::from(1);
    ManagerErrors::InsufficientQuorum {
        signerWeight: one,
        thresholdWeight: one,
        totalWeight: one,
    }
    .abi_encode()
}
