//! Components of which engine-svc died: how often, as far as nothing else can be suspected, and when one is quarantined.
//!
//! A row stays until its service is removed, a new document does without the component, the operator resumes the service, or the
//! component has done no harm for long.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Result, params};
use wavs_types::{ComponentDigest, ServiceId};

use super::columns::blob;

/// Deaths that are put down to one component, after which it is quarantined.
pub const MAX_DEATHS: u32 = 3;
/// A component that is not quarantined yet is forgiven after this time without another death.
pub const FORGIVEN_AFTER_MS: u64 = 24 * 3_600 * 1_000;

/// What is held against a component of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// Deaths of engine-svc that are put down to it.
    pub deaths: u32,
    /// When the last one was.
    pub last_ms: u64,
    /// What happened then.
    pub detail: String,
}

impl Blame {
    /// Whether the component is not run any more.
    #[must_use]
    pub fn is_quarantine(&self) -> bool {
        self.deaths >= MAX_DEATHS
    }

    /// Whether its runs are looked at one by one.
    #[must_use]
    pub fn is_suspicion(&self, now_ms: u64) -> bool {
        self.is_quarantine() || now_ms < self.last_ms.saturating_add(FORGIVEN_AFTER_MS)
    }
}

/// Puts another death down to a component, and answers what is held against it then.
pub fn add(
    tx: &Connection,
    service_id: &ServiceId,
    component: &ComponentDigest,
    detail: &str,
    now_ms: u64,
) -> Result<Blame> {
    let known = load(tx, service_id, component)?;
    let deaths = known
        .filter(|known| known.is_suspicion(now_ms))
        .map_or(0, |known| known.deaths);
    let blame = Blame {
        deaths: deaths.saturating_add(1),
        last_ms: now_ms,
        detail: detail.to_owned(),
    };
    tx.prepare_cached(
        "INSERT INTO blamed (service_id, component, deaths, last_ms, detail)
         SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM services WHERE service_id = ?1)
         ON CONFLICT (service_id, component) DO UPDATE SET deaths = ?3, last_ms = ?4, detail = ?5",
    )?
    .execute(params![
        blob(service_id.as_bytes()),
        blob(component.as_bytes()),
        blame.deaths,
        blame.last_ms,
        blame.detail
    ])?;
    Ok(blame)
}

fn load(conn: &Connection, service_id: &ServiceId, component: &ComponentDigest) -> Result<Option<Blame>> {
    conn.prepare_cached("SELECT deaths, last_ms, detail FROM blamed WHERE service_id = ?1 AND component = ?2")?
        .query_row(
            params![blob(service_id.as_bytes()), blob(component.as_bytes())],
            |row| {
                Ok(Blame {
                    deaths: row.get(0)?,
                    last_ms: row.get(1)?,
                    detail: row.get(2)?,
                })
            },
        )
        .optional()
}

/// What is held against components, by service.
pub fn all(conn: &Connection) -> Result<BTreeMap<ServiceId, Vec<(ComponentDigest, Blame)>>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut query = conn.prepare("SELECT service_id, component, deaths, last_ms, detail FROM blamed")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let blame = Blame {
            deaths: row.get(2)?,
            last_ms: row.get(3)?,
            detail: row.get(4)?,
        };
        let of_service = found.entry(ServiceId::new(row.get(0)?)).or_default();
        of_service.push((ComponentDigest::new(row.get(1)?), blame));
    }
    Ok(found)
}

/// Forgives the components of a service that its document does without.
pub fn keep(tx: &Connection, service_id: &ServiceId, used: &[ComponentDigest]) -> Result<()> {
    let blamed: Vec<[u8; 32]> = tx
        .prepare_cached("SELECT component FROM blamed WHERE service_id = ?1")?
        .query_map([blob(service_id.as_bytes())], |row| row.get(0))?
        .collect::<Result<_>>()?;
    for component in blamed {
        if !used.contains(&ComponentDigest::new(component)) {
            tx.prepare_cached("DELETE FROM blamed WHERE service_id = ?1 AND component = ?2")?
                .execute(params![blob(service_id.as_bytes()), component])?;
        }
    }
    Ok(())
}

/// Forgives a component of a service; or all of them, because it is gone or the operator lets it run again.
pub fn forgive(tx: &Connection, service_id: &ServiceId, component: Option<&ComponentDigest>) -> Result<()> {
    tx.prepare_cached("DELETE FROM blamed WHERE service_id = ?1 AND coalesce(component = ?2, 1)")?
        .execute(params![
            blob(service_id.as_bytes()),
            component.map(|component| blob(component.as_bytes()))
        ])?;
    Ok(())
}
