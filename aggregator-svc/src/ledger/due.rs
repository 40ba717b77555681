//! Reading what is due, service by service, so that the rows of one do not crowd out those of another.

use rusqlite::{Connection, Result, Row, params};
use wavs_types::ServiceId;

/// Which rows are to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueQuery {
    /// Those of these services; without, those of all.
    pub services: Option<Vec<ServiceId>>,
    /// But not of these.
    pub except: Vec<ServiceId>,
    /// At most so many of each service, the most urgent first.
    pub each: usize,
}

/// A row with a number for its name that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueRow {
    /// The row.
    pub id: i64,
    /// Whose it is.
    pub service_id: ServiceId,
    /// When, in milliseconds since 1970.
    pub next_ms: u64,
}

impl DueQuery {
    /// The rows of `FROM … WHERE …` by `order`, of the services in turn. The name of the service is `service_id` there.
    pub(super) fn read<T>(
        &self,
        conn: &Connection,
        columns: &str,
        from: &str,
        order: &str,
        row: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let sql = format!(
            "SELECT * FROM (
                 SELECT {columns}, row_number() OVER (PARTITION BY service_id ORDER BY {order}) AS place {from}
                   AND (?2 IS NULL OR service_id IN (SELECT unhex(value) FROM json_each(?2)))
                   AND service_id NOT IN (SELECT unhex(value) FROM json_each(?3)))
             WHERE place <= ?1 ORDER BY place"
        );
        let services = self.services.as_deref().map(list);
        conn.prepare_cached(&sql)?
            .query_map(params![self.each, services, list(&self.except)], row)?
            .collect()
    }

    /// The same for rows that are named by a number; `due` is the column with the time.
    pub(super) fn read_due(&self, conn: &Connection, due: &str, from: &str) -> Result<Vec<DueRow>> {
        let row = |row: &Row<'_>| {
            Ok(DueRow {
                id: row.get(0)?,
                service_id: ServiceId::new(row.get(1)?),
                next_ms: row.get(2)?,
            })
        };
        self.read(
            conn,
            &format!("id, service_id, {due}"),
            from,
            &format!("{due}, id"),
            row,
        )
    }
}

fn list(services: &[ServiceId]) -> String {
    let services: Vec<String> = services.iter().map(ToString::to_string).collect();
    serde_json::json!(services).to_string()
}
