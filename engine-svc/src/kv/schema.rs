//! Tables of the guest key-value store.
//!
//! Names and keys are blobs, so that order and equality are those of their bytes. `version` changes with each write, which
//! is what a compare-and-swap pins; absence is a version of its own. `usage` holds the bytes of each service for its quota.

/// Migration 1.
pub(crate) const V1: &str = "
CREATE TABLE entry (
    service BLOB NOT NULL,
    bucket  BLOB NOT NULL,
    key     BLOB NOT NULL,
    value   BLOB NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (service, bucket, key)
);
CREATE TABLE counter (
    service BLOB NOT NULL,
    bucket  BLOB NOT NULL,
    key     BLOB NOT NULL,
    value   INTEGER NOT NULL,
    PRIMARY KEY (service, bucket, key)
) WITHOUT ROWID;
CREATE TABLE usage (
    service BLOB NOT NULL PRIMARY KEY,
    bytes   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE clock (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    version INTEGER NOT NULL
);
INSERT INTO clock (only, version) VALUES (1, 0);
";

/// Migration 2.
pub(crate) const V2: &str = "
CREATE TABLE mark (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    service BLOB NOT NULL,
    job     BLOB NOT NULL,
    call    BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    result  BLOB NOT NULL,
    UNIQUE (service, job, call)
);
CREATE INDEX mark_age ON mark (service, number);
";

/// Migration 3: an entry or a counter counts 128 bytes besides its own, also those that are stored already.
pub(crate) const V3: &str = "
UPDATE usage SET bytes = bytes + 128 * (
    (SELECT count(*) FROM entry WHERE entry.service = usage.service)
    + (SELECT count(*) FROM counter WHERE counter.service = usage.service)
);
";

/// Migration 4: the marks of each service have numbers of their own, and those that were never trimmed go.
pub(crate) const V4: &str = "
CREATE TABLE numbered (
    service BLOB NOT NULL,
    number  INTEGER NOT NULL,
    job     BLOB NOT NULL,
    call    BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    result  BLOB NOT NULL,
    UNIQUE (service, number),
    UNIQUE (service, job, call)
);
INSERT INTO numbered (service, number, job, call, attempt, result)
    SELECT service, 4097 - age, job, call, attempt, result FROM (
        SELECT *, row_number() OVER (PARTITION BY service ORDER BY number DESC) AS age FROM mark
    ) WHERE age <= 4096;
DROP TABLE mark;
ALTER TABLE numbered RENAME TO mark;
";

/// A store in memory, up to date.
#[cfg(test)]
pub(crate) fn in_memory() -> rusqlite::Connection {
    let db = rusqlite::Connection::open_in_memory().unwrap();
    for migration in [V1, V2, V3, V4] {
        db.execute_batch(migration).unwrap();
    }
    db
}
