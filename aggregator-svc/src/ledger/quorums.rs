//! Events as queues of signatures: who signed which envelope, and how far each target is.

use rusqlite::{Connection, Result, params};
use wavs_ipc::contract::records::{BucketView, MAX_ROWS, QuorumQuery, QuorumTarget, QuorumView};
use wavs_types::{B256, EventId, ServiceId};

use super::columns::{blob, parsed};
use super::select::{Select, bytes, integer};

/// Events that match, newest first.
pub fn list(conn: &Connection, query: &QuorumQuery) -> Result<Vec<QuorumView>> {
    let select = Select::new(
        "SELECT rowid, service_id, workflow_id, event_id, state, error, created_us, updated_us, deadline_ms, own_digest
         FROM events WHERE 1",
    )
    .with("service_id = ?", query.service_id.map(|id| bytes(id.as_bytes())))
    .with("rowid < ?", query.before.map(integer));
    let select = match query.state.as_deref() {
        // The bounds are values so that both read alike; 10 is the first terminal rank.
        Some("open") => select.with("rank < 10 AND rank >= ?", Some(0)),
        Some("burned") => select.with("rank >= ?", Some(10)),
        state => select.with("state = ?", state.map(str::to_owned)),
    };
    let mut own = Vec::new();
    let mut views = select.rows(conn, "rowid DESC", query.max, MAX_ROWS, |row| {
        own.push(row.get::<_, Option<[u8; 32]>>(9)?.map(B256::from));
        Ok(QuorumView {
            id: row.get(0)?,
            service_id: ServiceId::new(row.get(1)?),
            workflow_id: parsed(row, 2)?,
            event_id: EventId::new(row.get(3)?),
            state: row.get(4)?,
            error: row.get(5)?,
            created_at_ms: row.get::<_, u64>(6)? / 1_000,
            updated_at_ms: row.get::<_, u64>(7)? / 1_000,
            deadline_ms: row.get(8)?,
            buckets: Vec::new(),
            targets: Vec::new(),
        })
    })?;
    for (view, own) in views.iter_mut().zip(own) {
        view.buckets = buckets(conn, &view.event_id, own)?;
        view.targets = targets(conn, &view.event_id)?;
    }
    Ok(views)
}

fn buckets(conn: &Connection, event_id: &EventId, own: Option<B256>) -> Result<Vec<BucketView>> {
    let digests: Vec<[u8; 32]> = conn
        .prepare_cached("SELECT digest FROM buckets WHERE event_id = ?1 ORDER BY digest")?
        .query_map([blob(event_id.as_bytes())], |row| row.get(0))?
        .collect::<Result<_>>()?;
    let mut views = Vec::with_capacity(digests.len());
    for digest in digests {
        let signers = conn
            .prepare_cached(
                "SELECT signer, status FROM signatures WHERE event_id = ?1 AND digest = ?2 ORDER BY signer",
            )?
            .query_map(params![blob(event_id.as_bytes()), digest], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_>>()?;
        views.push(BucketView {
            digest,
            own: own.is_some_and(|own| own.0 == digest),
            signers,
        });
    }
    views.extend(parked(conn, event_id)?);
    Ok(views)
}

/// Envelopes that others signed and this node does not have: not fetched yet, or evidence of a result that differs from ours.
fn parked(conn: &Connection, event_id: &EventId) -> Result<Vec<BucketView>> {
    let rows: Vec<([u8; 32], [u8; 20])> = conn
        .prepare_cached("SELECT digest, signer FROM parked WHERE event_id = ?1 ORDER BY digest, signer")?
        .query_map([blob(event_id.as_bytes())], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    let mut views: Vec<BucketView> = Vec::new();
    for (digest, signer) in rows {
        let signer = (signer, "parked".to_owned());
        match views.last_mut().filter(|view| view.digest == digest) {
            Some(view) => view.signers.push(signer),
            None => views.push(BucketView {
                digest,
                own: false,
                signers: vec![signer],
            }),
        }
    }
    Ok(views)
}

fn targets(conn: &Connection, event_id: &EventId) -> Result<Vec<QuorumTarget>> {
    conn.prepare_cached(
        "SELECT chain, handler, state, weight, threshold, tx, error FROM targets WHERE event_id = ?1 ORDER BY id",
    )?
    .query_map([blob(event_id.as_bytes())], |row| {
        Ok(QuorumTarget {
            chain: parsed(row, 0)?,
            handler: row.get(1)?,
            state: row.get(2)?,
            weight: row.get(3)?,
            threshold: row.get(4)?,
            tx: row.get(5)?,
            error: row.get(6)?,
        })
    })?
    .collect()
}

/// Remembers what the manager said about the weight of a target's signatures, in decimal. A threshold that it does not tell
/// is unknown.
pub fn weigh(tx: &Connection, target: i64, weight: &str, threshold: Option<&str>) -> Result<()> {
    tx.prepare_cached("UPDATE targets SET weight = ?2, threshold = ?3 WHERE id = ?1")?
        .execute(params![target, weight, threshold])?;
    Ok(())
}
