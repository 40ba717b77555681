//! What is held against components, at times that the tests choose.

use wavs_types::ComponentDigest;

use super::*;
use crate::ledger::blame::{self, FORGIVEN_AFTER_MS, MAX_DEATHS};

const OTHER: ServiceId = ServiceId::new([5; 32]);
const ONE: ComponentDigest = ComponentDigest::new([1; 32]);
const TWO: ComponentDigest = ComponentDigest::new([2; 32]);

/// A row of a service that has nothing but its id.
fn register(tx: &Connection, service_id: ServiceId) -> Result<()> {
    tx.execute(
        "INSERT INTO services (service_id, manager, digest, raw, state, updated_ms) VALUES (?1, '', x'', x'', 'active', 0)",
        [service_id.as_bytes().as_slice()],
    )?;
    Ok(())
}

#[tokio::test]
async fn deaths_add_up_until_a_day_has_passed_and_a_quarantine_stays() {
    in_ledger(|tx| {
        register(tx, SERVICE)?;
        let add = |at_ms| blame::add(tx, &SERVICE, &ONE, "it broke", at_ms).map(|blame| blame.deaths);
        assert_eq!((add(1)?, add(2)?), (1, 2));
        assert_eq!(add(2 + FORGIVEN_AFTER_MS)?, 1, "it was long ago");
        let at_ms = FORGIVEN_AFTER_MS + 3;
        assert_eq!((add(at_ms)?, add(at_ms)?), (2, MAX_DEATHS));
        assert_eq!(add(9 * FORGIVEN_AFTER_MS)?, MAX_DEATHS + 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_component_is_held_to_account_for_each_service_by_itself() {
    in_ledger(|tx| {
        register(tx, SERVICE)?;
        register(tx, OTHER)?;
        for (service, component) in [(SERVICE, ONE), (SERVICE, TWO), (OTHER, ONE)] {
            blame::add(tx, &service, &component, "it broke", 1)?;
        }
        let found = || -> Result<Vec<_>> {
            let all = blame::all(tx)?.into_iter();
            Ok(all
                .flat_map(|(service, components)| {
                    components.into_iter().map(move |(component, _)| (service, component))
                })
                .collect())
        };
        blame::keep(tx, &SERVICE, &[TWO])?;
        assert_eq!(found()?, [(SERVICE, TWO), (OTHER, ONE)]);
        blame::forgive(tx, &SERVICE, None)?;
        assert_eq!(found()?, [(OTHER, ONE)]);
        blame::forgive(tx, &OTHER, Some(&TWO))?;
        assert_eq!(found()?, [(OTHER, ONE)]);
        blame::forgive(tx, &OTHER, Some(&ONE))?;
        assert_eq!(found()?, []);
        // A death that is committed after the service was removed leaves no row behind.
        tx.execute("DELETE FROM services", [])?;
        blame::add(tx, &SERVICE, &ONE, "it broke", 1)?;
        assert_eq!(found()?, []);
        Ok(())
    })
    .await;
}
