//! Reading and writing columns that hold domain values.

use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Result, Row};

/// A fixed-size id as the bytes that SQLite stores.
pub(crate) fn blob<const N: usize>(bytes: &[u8; N]) -> &[u8] {
    bytes
}

/// A text column as the value that it spells.
pub(crate) fn parsed<T>(row: &Row<'_>, index: usize) -> Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(index)?;
    text.parse()
        .map_err(|cause| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(cause)))
}

/// A column with JSON text as the value that it spells.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: usize) -> Result<T> {
    let text = row.get_ref(index)?.as_bytes()?;
    serde_json::from_slice(text)
        .map_err(|cause| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(cause)))
}

/// The error for a value that cannot be written.
pub(crate) fn unwritable(cause: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(cause))
}
