//! The tables of the network of operators. Conventions as in [`super::schema`].

/// What the network of operators needs: what to tell it, what it told, and who is in it.
pub(super) const PEERS: &str = "
-- Either digest (we signed it) or target (our transaction landed) is set.
CREATE TABLE announcements (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id BLOB NOT NULL,
    digest BLOB,
    target INTEGER,
    UNIQUE (event_id, digest),
    UNIQUE (target)
) STRICT;

CREATE TABLE gossiped (
    event_id BLOB PRIMARY KEY,
    service_id BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- due_ms: when the body is fetched; null for evidence that differs from our own result.
CREATE TABLE parked (
    event_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    signer BLOB NOT NULL,
    service_id BLOB NOT NULL,
    workflow_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    signature BLOB NOT NULL,
    body_digest BLOB NOT NULL,
    due_ms INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (event_id, digest, signer)
) STRICT, WITHOUT ROWID;
CREATE INDEX parked_due ON parked (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX parked_received ON parked (received_ms);

CREATE TABLE operators (
    service_id BLOB NOT NULL,
    signer BLOB NOT NULL,
    posts_on TEXT NOT NULL,
    PRIMARY KEY (service_id, signer)
) STRICT, WITHOUT ROWID;

CREATE TABLE notices (
    event_id BLOB NOT NULL,
    chain TEXT NOT NULL,
    handler TEXT NOT NULL,
    signer BLOB NOT NULL,
    digest BLOB NOT NULL,
    tx TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (event_id, chain, handler, signer)
) STRICT, WITHOUT ROWID;
CREATE INDEX notices_received ON notices (received_ms);

CREATE TABLE schedule (
    target INTEGER PRIMARY KEY,
    since_ms INTEGER NOT NULL
) STRICT;
";

/// How much each signer has parked.
pub(super) const QUOTAS: &str = "
CREATE INDEX parked_signer ON parked (signer, service_id);
";
