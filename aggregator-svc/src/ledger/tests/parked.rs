//! Signatures that wait for their envelope.

use wavs_types::EvmAddress;

use super::*;
use crate::ledger::parked::{self, Parked};

fn parked(body: u8) -> Parked {
    Parked {
        event_id: event_id(1),
        digest: B256::repeat_byte(1),
        service_id: SERVICE,
        workflow_id: "default".parse().unwrap(),
        kind: SignatureKind::EIP191,
        signature: SignatureRow {
            signer: EvmAddress::repeat_byte(9),
            signature: [1; 65],
        },
        body_digest: B256::repeat_byte(body),
    }
}

#[tokio::test]
async fn a_signature_is_parked_once_and_gets_the_first_body_that_may_be_run() {
    in_ledger(|tx| {
        // By the bridge, with a body that is bound to nothing.
        assert!(parked::insert(tx, &parked(1), None, 5)?);
        assert!(!parked::insert(tx, &parked(1), None, 5)?);
        assert!(parked::wanted(tx, 10)?.is_empty());
        // The same signature by our own network, with a body that was signed.
        assert!(parked::insert(tx, &parked(2), Some(7), 6)?);
        assert!(!parked::insert(tx, &parked(3), Some(8), 6)?);
        assert!(!parked::insert(tx, &parked(1), None, 6)?);
        let wanted = parked::wanted(tx, 10)?;
        assert_eq!(wanted.len(), 1);
        assert_eq!(
            (wanted[0].due_ms, wanted[0].parked.body_digest),
            (7, B256::repeat_byte(2))
        );
        assert_eq!(parked::take(tx, &event_id(1), &B256::repeat_byte(1))?.len(), 1);
        Ok(())
    })
    .await;
}
