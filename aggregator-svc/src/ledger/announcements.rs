//! What is to be told to the other operators: attestations that were signed, landings that were seen, and which events the
//! network knows, so that it is told when they are over.

use rusqlite::{Connection, Result, params};
use wavs_types::{B256, EventId, ServiceId};

use super::columns::blob;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Place in the order.
    pub seq: i64,
    /// The event.
    pub event_id: EventId,
    /// What to tell about it.
    pub news: News,
}

/// What there is to tell about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// We signed this digest.
    Signed(B256),
    /// Our transaction delivered it to this target.
    Landed(i64),
}

/// Notes that a digest was signed.
pub fn signed(tx: &Connection, event_id: &EventId, digest: &B256) -> Result<()> {
    tx.prepare_cached("INSERT INTO announcements (event_id, digest) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![blob(event_id.as_bytes()), digest.as_slice()])?;
    Ok(())
}

/// Notes that a target's transaction was mined.
pub fn landed(tx: &Connection, event_id: &EventId, target: i64) -> Result<()> {
    tx.prepare_cached("INSERT INTO announcements (event_id, target) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![blob(event_id.as_bytes()), target])?;
    Ok(())
}

/// The oldest entries.
pub fn oldest(conn: &Connection, max: usize) -> Result<Vec<Outgoing>> {
    conn.prepare_cached("SELECT seq, event_id, digest, target FROM announcements ORDER BY seq LIMIT ?1")?
        .query_map([max], |row| {
            let digest: Option<[u8; 32]> = row.get(2)?;
            let news = match digest {
                Some(digest) => News::Signed(B256::from(digest)),
                None => News::Landed(row.get(3)?),
            };
            Ok(Outgoing {
                seq: row.get(0)?,
                event_id: EventId::new(row.get(1)?),
                news,
            })
        })?
        .collect()
}

/// An entry was told, or there is nothing to tell any more.
pub fn told(tx: &Connection, seq: i64) -> Result<()> {
    tx.prepare_cached("DELETE FROM announcements WHERE seq = ?1")?
        .execute([seq])?;
    Ok(())
}

/// The network has lost what it was told: everything that is still open is to be told again.
pub fn tell_again(tx: &Connection) -> Result<usize> {
    tx.execute(
        "INSERT INTO announcements (event_id, digest) SELECT event_id, own_digest FROM events
         WHERE rank < 10 AND own_digest IS NOT NULL ON CONFLICT DO NOTHING",
        [],
    )
}

/// The network knows an event.
pub fn gossiped(tx: &Connection, service_id: &ServiceId, event_id: &EventId) -> Result<()> {
    tx.prepare_cached("INSERT INTO gossiped (service_id, event_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![blob(service_id.as_bytes()), blob(event_id.as_bytes())])?;
    Ok(())
}

/// Events that the network knows and that are over.
pub fn over(conn: &Connection, max: usize) -> Result<Vec<(ServiceId, EventId)>> {
    conn.prepare_cached(
        "SELECT gossiped.service_id, gossiped.event_id FROM gossiped LEFT JOIN events USING (event_id)
         WHERE coalesce(rank, 10) >= 10 LIMIT ?1",
    )?
    .query_map([max], |row| {
        Ok((ServiceId::new(row.get(0)?), EventId::new(row.get(1)?)))
    })?
    .collect()
}

/// The network was told that events are over.
pub fn retired(tx: &Connection, events: &[EventId]) -> Result<()> {
    let mut statement = tx.prepare_cached("DELETE FROM gossiped WHERE event_id = ?1")?;
    for event in events {
        statement.execute([blob(event.as_bytes())])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use wavs_store::Durability;

    #[tokio::test]
    async fn each_piece_of_news_is_told_once_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        let (event, digest) = (EventId::new([1; 20]), B256::repeat_byte(2));
        ledger
            .write(Durability::Process, move |tx| {
                signed(tx, &event, &digest)?;
                signed(tx, &event, &digest)?;
                landed(tx, &event, 7)
            })
            .await
            .unwrap();
        let news = ledger.read(|conn| oldest(conn, 10)).await.unwrap();
        let kinds: Vec<_> = news.iter().map(|one| one.news.clone()).collect();
        assert_eq!(kinds, [News::Signed(digest), News::Landed(7)]);
        let first = news[0].seq;
        ledger
            .write(Durability::Process, move |tx| told(tx, first))
            .await
            .unwrap();
        assert_eq!(ledger.read(|conn| oldest(conn, 10)).await.unwrap(), news[1..]);
    }
}
