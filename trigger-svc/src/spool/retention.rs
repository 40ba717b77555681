//! How long the spool remembers.
//!
//! Each table has its own bound: entries the quota, source keys and block hashes the window of reorganisations, slots of
//! schedules two days, injections their number, positions and clocks the chains and routes. Source keys have a bound on
//! their number besides, for a flood within the window.

use std::collections::BTreeMap;

use wavs_store::Durability;
use wavs_store::rusqlite::params;

use super::{Spool, SpoolError};

/// Source keys that are remembered per source. Beyond it the oldest are forgotten: should their blocks be read again, the
/// occurrences are reported twice, and aggregator-svc recognises them by their event ids.
const MAX_REMEMBERED: i64 = 500_000;
/// Most that are forgotten in one commit, so that sources do not wait long for theirs.
const MAX_FORGOTTEN: i64 = 10_000;

impl Spool {
    /// Forgets source keys beyond their bound.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn forget_excess(&self) -> Result<(), SpoolError> {
        self.forget_beyond(MAX_REMEMBERED).await
    }

    async fn forget_beyond(&self, bound: i64) -> Result<(), SpoolError> {
        let counts: BTreeMap<String, i64> = self
            .database
            .reader()
            .read(|connection| {
                let mut statement = connection.prepare_cached("SELECT chain, count(*) FROM seen GROUP BY chain")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok::<_, SpoolError>(rows.collect::<Result<_, _>>()?)
            })
            .await?;
        for (source, count) in counts {
            let mut excess = count - bound;
            while excess > 0 {
                let part = excess.min(MAX_FORGOTTEN);
                let of = source.clone();
                // Not a write that must not be lost: on a full disk the caller goes on and comes back.
                let writer = self.database.writer();
                let forgetting = writer.write(Durability::Process, move |tx| {
                    tx.prepare_cached(
                        "DELETE FROM seen WHERE (source_key, service_id, workflow_id) IN (
                             SELECT source_key, service_id, workflow_id FROM seen WHERE chain = ?1
                             ORDER BY height LIMIT ?2)",
                    )?
                    .execute(params![of, part])?;
                    Ok::<_, SpoolError>(())
                });
                forgetting.await?;
                excess -= part;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::spool::tests::{chain, pull, seen, spool};

    #[tokio::test]
    async fn the_oldest_source_keys_beyond_the_bound_are_forgotten() {
        let (_dir, spool) = spool().await;
        let all: Vec<_> = (1..=5)
            .map(|height| seen(&format!("at {height}"), height, &["one"]))
            .collect();
        spool.record(&chain(), all, None).await.unwrap();
        spool.forget_beyond(2).await.unwrap();
        let kept = spool.recorded_since(&chain(), 0).await.unwrap();
        assert_eq!(kept, [(4, "at 4".to_owned()), (5, "at 5".to_owned())]);
        assert_eq!(pull(&spool, 0).await.items.len(), 5, "what waits is not touched");
    }
}
