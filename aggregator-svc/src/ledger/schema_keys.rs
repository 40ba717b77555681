//! The columns and tables of keys that changed: whether a key's history is complete here, and which keys a service had.

/// History of keys, and former keys. Keys that were pinned before signed under the eyes of this ledger.
pub(super) const SCHEMA_KEYS: &str = "
-- history: unchecked (the chain was not asked yet), complete, missing (it has weight on chain, but no history here).
ALTER TABLE pins ADD COLUMN history TEXT NOT NULL DEFAULT 'complete'
    CHECK (history IN ('unchecked', 'complete', 'missing'));

-- Indices that a service had before its key was rotated; never handed out again.
CREATE TABLE former_pins (
    hd_index INTEGER PRIMARY KEY,
    service_id BLOB NOT NULL,
    address BLOB NOT NULL,
    rotated_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX former_pins_service ON former_pins (service_id);
";
