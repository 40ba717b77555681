//! The table of transactions.

/// SQL of the transaction ledger: one row per signed transaction. Rows with the same nonce of one account are versions that replace
/// each other; at most one of them gets into a block.
///
/// States: `stored` (signed and durable, perhaps sent), `mined`, `final`, `reverted`, `replaced` (another version was mined),
/// `dropped` (its nonce went to a foreign transaction).
pub const TX_SCHEMA: &str = "
CREATE TABLE tx (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    chain        TEXT    NOT NULL,
    chain_id     INTEGER NOT NULL,
    account      BLOB    NOT NULL,
    nonce        INTEGER NOT NULL,
    target       TEXT    NOT NULL,
    kind         TEXT    NOT NULL CHECK (kind IN ('call', 'cancel')),
    max_fee      TEXT    NOT NULL,
    priority_fee TEXT,
    gas          INTEGER NOT NULL,
    raw          BLOB    NOT NULL,
    hash         BLOB    NOT NULL,
    judged_at    INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    created_ms   INTEGER NOT NULL,
    block_number INTEGER,
    block_hash   BLOB,
    cost         TEXT,
    reason       TEXT,
    UNIQUE (chain_id, hash)
) STRICT;
CREATE INDEX tx_by_target ON tx (target);
CREATE INDEX tx_by_nonce ON tx (chain_id, account, nonce);
CREATE INDEX tx_unfinished ON tx (state) WHERE state IN ('stored', 'mined');
";
