//! What other operators' results may do to an event: no more than their signatures are worth.

use rusqlite::Transaction;
use wavs_store::Durability;
use wavs_types::{B256, EvmAddress, SignatureKind, WasmResponse};

use super::{Ledger, SERVICE, event_id};
use crate::ledger::buckets::{self, NewBucket, SignatureRow};
use crate::ledger::events::{self, NewEvent};
use crate::ledger::parked::{self, Parked};
use crate::ledger::targets::{self, Choice, NewTarget};
use crate::ledger::{Ending, State};

fn digest(number: u8) -> B256 {
    B256::repeat_byte(number)
}

/// An event that others know, or with our own result.
fn open(tx: &Transaction<'_>, own: Option<u8>) -> rusqlite::Result<()> {
    let event = NewEvent {
        event_id: event_id(1),
        service_id: SERVICE,
        workflow_id: "default".parse().unwrap(),
        own_digest: own.map(digest),
        deadline_ms: 1_000,
    };
    events::insert(tx, &event, 1).map(drop)
}

/// A result that these signers back, whose component has named the target.
fn named(tx: &Transaction<'_>, number: u8, signers: &[u8]) -> rusqlite::Result<Option<i64>> {
    let bucket = NewBucket {
        event_id: event_id(1),
        digest: digest(number),
        response: WasmResponse {
            payload: vec![number].into(),
            ordering: None,
            event_id_salt: None,
        },
        action: b"{}".to_vec(),
        kind: SignatureKind::EIP191,
    };
    buckets::insert(tx, &bucket)?;
    for signer in signers {
        let row = SignatureRow {
            signer: EvmAddress::repeat_byte(*signer),
            signature: [*signer; 65],
        };
        buckets::insert_signature(tx, &event_id(1), &digest(number), &row, 1)?;
    }
    buckets::input_done(tx, &event_id(1), &digest(number))?;
    let target = NewTarget {
        event_id: event_id(1),
        digest: digest(number),
        chain: "evm:1".parse().unwrap(),
        handler: "0xhandler".to_owned(),
        gas_hint: None,
        deadline_ms: 1_000,
    };
    targets::insert(tx, &target)
}

async fn with_ledger(check: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
    ledger.write(Durability::Process, check).await.unwrap();
}

#[tokio::test]
async fn our_own_result_takes_the_place_of_one_that_came_first() {
    with_ledger(|tx| {
        open(tx, None)?;
        let id = named(tx, 9, &[7])?.unwrap();
        open(tx, Some(1))?;
        let stolen = targets::load(tx, id)?.unwrap();
        assert_eq!(targets::choose(tx, &stolen)?, Choice::Divergent(digest(1)));
        assert_eq!(named(tx, 1, &[1])?, Some(id));
        let ours = targets::load(tx, id)?.unwrap();
        assert_eq!(ours.digest, digest(1));
        assert_eq!(targets::choose(tx, &ours)?, Choice::Deliver(digest(1)));
        assert_eq!(named(tx, 9, &[8])?, None, "nobody takes it back");
        assert_eq!(targets::load(tx, id)?.unwrap().digest, digest(1));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn our_own_result_is_delivered_where_another_operator_s_copy_of_it_was_named_before() {
    with_ledger(|tx| {
        open(tx, None)?;
        let id = named(tx, 9, &[7])?.unwrap();
        assert_eq!(named(tx, 1, &[5])?, None, "nobody knows yet which is ours");
        let stale = targets::load(tx, id)?.unwrap();
        // Ours is what the second one has: its component has been asked already, and is not asked again.
        open(tx, Some(1))?;
        assert_eq!(stale.digest, digest(9));
        assert_eq!(targets::choose(tx, &stale)?, Choice::Deliver(digest(1)));
        assert_eq!(targets::load(tx, id)?.unwrap().digest, digest(1));
        assert_eq!(targets::choose(tx, &stale)?, Choice::Deliver(digest(1)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn without_a_result_of_our_own_the_most_signatures_count_until_they_suffice() {
    with_ledger(|tx| {
        open(tx, None)?;
        let id = named(tx, 9, &[7])?.unwrap();
        named(tx, 2, &[1, 2])?;
        let target = targets::load(tx, id)?.unwrap();
        assert_eq!(targets::choose(tx, &target)?, Choice::Deliver(digest(2)));
        let target = targets::load(tx, id)?.unwrap();
        targets::reached_quorum(tx, &target, 5, 1_000, 2)?;
        named(tx, 9, &[3, 4, 5])?;
        let target = targets::load(tx, id)?.unwrap();
        assert_eq!(targets::choose(tx, &target)?, Choice::Deliver(digest(2)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_another_signed_ends_no_event_when_its_component_fails() {
    with_ledger(|tx| {
        open(tx, Some(1))?;
        named(tx, 1, &[1])?;
        let ending = Ending::failed("guest_fault", "it trapped");
        buckets::input_failed(tx, &event_id(1), &digest(9), &ending, 2)?;
        assert!(!events::load(tx, &event_id(1))?.unwrap().state.is_terminal());
        buckets::input_failed(tx, &event_id(1), &digest(1), &ending, 3)?;
        assert_eq!(events::load(tx, &event_id(1))?.unwrap().state, State::Failed);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_signer_fills_its_own_room_alone() {
    with_ledger(|tx| {
        let park = |signer: u8, event: u32| {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&event.to_be_bytes());
            let parked = Parked {
                event_id: wavs_types::EventId::new(id),
                digest: digest(1),
                service_id: SERVICE,
                workflow_id: "default".parse().unwrap(),
                kind: SignatureKind::EIP191,
                signature: SignatureRow {
                    signer: EvmAddress::repeat_byte(signer),
                    signature: [signer; 65],
                },
                body_digest: digest(2),
            };
            parked::insert(tx, &parked, None, 1)
        };
        let mut kept = 0;
        for event in 0..5_000 {
            kept += u32::from(park(7, event)?);
        }
        assert_eq!(kept, 4_096);
        assert!(park(8, 0)?);
        Ok(())
    })
    .await;
}
