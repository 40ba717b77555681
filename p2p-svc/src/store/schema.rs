//! The tables of the store. Times are milliseconds since the Unix epoch, ids are raw bytes. Submissions of generation 1 are
//! rows of `records` of the kind `gen1`.

use wavs_store::Migration;

/// The steps of the schema; only ever appended to.
pub(super) const MIGRATIONS: &[Migration] = &[Migration::new("records, bodies and peers", RECORDS)];

const RECORDS: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- seq is the position in the inbox. kind: attestation, landed, hello.
CREATE TABLE records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    service_id BLOB NOT NULL,
    event_id BLOB,
    author BLOB NOT NULL,
    kind TEXT NOT NULL,
    own INTEGER NOT NULL,
    issued_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    encoded BLOB NOT NULL
) STRICT;
CREATE INDEX records_event ON records (service_id, event_id);
CREATE INDEX records_issued ON records (service_id, issued_ms);
CREATE INDEX records_author ON records (service_id, author, kind);
CREATE INDEX records_expiry ON records (expires_ms);

CREATE TABLE bodies (
    digest BLOB PRIMARY KEY,
    service_id BLOB NOT NULL,
    event_id BLOB,
    expires_ms INTEGER NOT NULL,
    encoded BLOB NOT NULL
) STRICT;
CREATE INDEX bodies_event ON bodies (service_id, event_id);
CREATE INDEX bodies_expiry ON bodies (expires_ms);

CREATE TABLE retired (
    service_id BLOB NOT NULL,
    event_id BLOB NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (service_id, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX retired_until ON retired (until_ms);

CREATE TABLE peers (
    peer_id TEXT NOT NULL,
    address TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (peer_id, address)
) STRICT, WITHOUT ROWID;
";
