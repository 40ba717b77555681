//! Building the queries of lists: conditions with their values, newest first, bounded.

use rusqlite::types::Value;
use rusqlite::{Connection, Result, Row, params_from_iter};

/// A `SELECT` under construction; it has a `WHERE` already.
pub(super) struct Select {
    sql: String,
    values: Vec<Value>,
}

impl Select {
    /// Starts from `SELECT … WHERE …`; without a condition of its own, `WHERE 1`.
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            values: Vec::new(),
        }
    }

    /// Adds `condition`, with one question mark, if there is a value.
    pub(super) fn with<V: Into<Value>>(mut self, condition: &str, value: Option<V>) -> Self {
        if let Some(value) = value {
            self.sql.push_str(" AND ");
            self.sql.push_str(condition);
            self.values.push(value.into());
        }
        self
    }

    /// Runs it: ordered by `order`, at most `max` rows and never more than `bound`.
    pub(super) fn rows<T>(
        mut self,
        conn: &Connection,
        order: &str,
        max: u32,
        bound: u32,
        row: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.sql.push_str(" ORDER BY ");
        self.sql.push_str(order);
        self.sql.push_str(" LIMIT ?");
        self.values.push(i64::from(max.min(bound)).into());
        conn.prepare_cached(&self.sql)?
            .query_map(params_from_iter(self.values), row)?
            .collect()
    }
}

/// An unsigned number as SQLite stores it; what does not fit becomes the largest that does.
pub(super) fn integer(value: u64) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A fixed-size id as SQLite stores it.
pub(super) fn bytes(value: &[u8]) -> Value {
    Value::Blob(value.to_vec())
}
