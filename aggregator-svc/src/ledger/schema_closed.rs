//! The tables and indices by which the ledger forgets: what is left of a closed event, and where the old rows are.

/// What an event leaves behind, and indices so that a sweep never looks at a row that it does not delete.
pub(super) const SCHEMA_CLOSED: &str = "
-- What is left of an event whose rows were deleted: one row per target, or one without chain and handler.
CREATE TABLE done (
    event_id BLOB NOT NULL,
    chain TEXT NOT NULL,
    handler TEXT NOT NULL,
    digest BLOB,
    state TEXT NOT NULL,
    tx TEXT,
    ended_ms INTEGER NOT NULL,
    PRIMARY KEY (event_id, chain, handler)
) STRICT, WITHOUT ROWID;
CREATE INDEX done_ended ON done (ended_ms);

-- bare: payloads, triggers, signatures and timers of the event are deleted.
ALTER TABLE events ADD COLUMN bare INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_ended ON events (updated_us) WHERE rank >= 10 AND bare = 0;
CREATE INDEX audit_age ON audit (at_ms);
CREATE INDEX tx_over ON tx (created_ms) WHERE state NOT IN ('stored', 'mined');
";
