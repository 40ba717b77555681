//! The tables of the ledger, as forward-only SQL.
//!
//! Ids are raw bytes, a job is a big-endian ULID (so that ascending is oldest first), times are microseconds (`_us`) or
//! milliseconds (`_ms`) since the Unix epoch. Documents are the JSON text in which they travelled. Every state column
//! holds a name of [`super::state::State`], except where a comment says otherwise.

/// First version of everything but the transactions, whose tables belong to [`crate::chain`].
pub(super) const SCHEMA_1: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Derivation indices. A row outlives its service (`retired`), so that the service gets its key back.
-- state: pending (first add not finished), active, retired.
CREATE TABLE pins (
    service_id BLOB PRIMARY KEY,
    hd_index INTEGER NOT NULL UNIQUE CHECK (hd_index > 0),
    address BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'retired'))
) STRICT;

-- Signing is refused for a (signer, event id) that has another digest here. Never deleted.
CREATE TABLE signed (
    signer BLOB NOT NULL,
    event_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    envelope BLOB NOT NULL,
    signature BLOB NOT NULL,
    signed_us INTEGER NOT NULL,
    PRIMARY KEY (signer, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX signed_event ON signed (event_id);

-- state: pending (being added), active, deleting.
CREATE TABLE services (
    service_id BLOB PRIMARY KEY,
    manager TEXT NOT NULL,
    digest BLOB NOT NULL,
    raw BLOB NOT NULL,
    uri TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'deleting')),
    reason TEXT,
    operator_paused INTEGER NOT NULL DEFAULT 0,
    pause_reason TEXT,
    warnings TEXT NOT NULL DEFAULT '[]',
    updated_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service_id BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

CREATE TABLE documents (
    digest BLOB PRIMARY KEY,
    raw BLOB NOT NULL,
    used_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE chains (
    chain TEXT PRIMARY KEY,
    config TEXT NOT NULL
) STRICT;

-- state: received, executed, no_output, skipped, failed, orphaned; `signed` means: see its events.
CREATE TABLE jobs (
    job BLOB PRIMARY KEY,
    service_id BLOB NOT NULL,
    workflow_id TEXT NOT NULL,
    service_digest BLOB NOT NULL,
    trigger_kind TEXT NOT NULL,
    source_key TEXT NOT NULL,
    injection BLOB,
    action BLOB NOT NULL,
    event_id BLOB NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    attempt INTEGER NOT NULL DEFAULT 1,
    deaths INTEGER NOT NULL DEFAULT 0,
    faults INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL DEFAULT 0,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    timeline TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX jobs_occurrence ON jobs (service_id, workflow_id, source_key) WHERE injection IS NULL;
CREATE INDEX jobs_injection ON jobs (injection, state) WHERE injection IS NOT NULL;
CREATE INDEX jobs_received ON jobs (next_ms) WHERE state = 'received';
CREATE INDEX jobs_service ON jobs (service_id, job);
CREATE INDEX jobs_source ON jobs (source_key);

CREATE TABLE events (
    event_id BLOB PRIMARY KEY,
    service_id BLOB NOT NULL,
    workflow_id TEXT NOT NULL,
    own_digest BLOB,
    state TEXT NOT NULL,
    rank INTEGER NOT NULL,
    error TEXT,
    deadline_ms INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    timeline TEXT NOT NULL
) STRICT;
CREATE INDEX events_open ON events (service_id) WHERE rank < 10;

-- Equal injected copies share one event, hence many to many.
CREATE TABLE job_events (
    job BLOB NOT NULL,
    event_id BLOB NOT NULL,
    PRIMARY KEY (job, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_events_event ON job_events (event_id);

-- One envelope that is signed for an event, with the input of the aggregator component.
-- input: due, done, failed.
CREATE TABLE buckets (
    event_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    response BLOB NOT NULL,
    action BLOB NOT NULL,
    kind TEXT NOT NULL,
    input TEXT NOT NULL CHECK (input IN ('due', 'done', 'failed')),
    attempt INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (event_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX buckets_due ON buckets (next_ms) WHERE input = 'due';

-- status: counted, pending_registration, quarantined.
CREATE TABLE signatures (
    event_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    signer BLOB NOT NULL,
    signature BLOB NOT NULL,
    status TEXT NOT NULL,
    received_us INTEGER NOT NULL,
    PRIMARY KEY (event_id, digest, signer)
) STRICT, WITHOUT ROWID;

-- callback: none (no outcome yet), due, done.
CREATE TABLE targets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    chain TEXT NOT NULL,
    handler TEXT NOT NULL,
    gas_hint TEXT,
    state TEXT NOT NULL,
    rank INTEGER NOT NULL,
    error TEXT,
    since_block INTEGER,
    deadline_ms INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    reverts INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL DEFAULT 0,
    tx TEXT,
    callback TEXT NOT NULL DEFAULT 'none' CHECK (callback IN ('none', 'due', 'done')),
    callback_attempt INTEGER NOT NULL DEFAULT 0,
    callback_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (event_id, chain, handler)
) STRICT;
CREATE INDEX targets_open ON targets (next_ms) WHERE rank < 10;
CREATE INDEX targets_callback ON targets (callback_ms) WHERE callback = 'due';

-- state: armed, fired, failed, cancelled.
CREATE TABLE timers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    due_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL,
    UNIQUE (event_id, digest, due_ms)
) STRICT;
CREATE INDEX timers_armed ON timers (next_ms) WHERE state = 'armed';
";

/// Only what came from a chain can be orphaned, and it is looked for by its source only while it waits. What was signed is looked
/// for by its event first, so that this order needs no index beside it.
pub(super) const FEWER_INDICES: &str = "
DROP INDEX jobs_source;
CREATE INDEX jobs_source ON jobs (source_key) WHERE state = 'received' AND injection IS NULL;

DROP INDEX signed_event;
CREATE TABLE signed_by_event (
    signer BLOB NOT NULL,
    event_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    envelope BLOB NOT NULL,
    signature BLOB NOT NULL,
    signed_us INTEGER NOT NULL,
    PRIMARY KEY (event_id, signer)
) STRICT, WITHOUT ROWID;
INSERT INTO signed_by_event SELECT * FROM signed;
DROP TABLE signed;
ALTER TABLE signed_by_event RENAME TO signed;

-- A bucket is written when it opens and again when its actions are there, both times at the end of the table.
DROP INDEX buckets_due;
CREATE TABLE buckets_in_order (
    id INTEGER PRIMARY KEY,
    event_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    response BLOB NOT NULL,
    action BLOB NOT NULL,
    kind TEXT NOT NULL,
    input TEXT NOT NULL CHECK (input IN ('due', 'done', 'failed')),
    attempt INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (event_id, digest)
) STRICT;
INSERT INTO buckets_in_order (event_id, digest, response, action, kind, input, attempt, next_ms)
SELECT event_id, digest, response, action, kind, input, attempt, next_ms FROM buckets;
DROP TABLE buckets;
ALTER TABLE buckets_in_order RENAME TO buckets;
CREATE INDEX buckets_due ON buckets (next_ms) WHERE input = 'due';

-- Whose rows there are, because looking through them all takes long.
CREATE TABLE signed_keys (
    signer BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
INSERT INTO signed_keys SELECT DISTINCT signer FROM signed;
CREATE TRIGGER note_signed_key AFTER INSERT ON signed BEGIN
    INSERT OR IGNORE INTO signed_keys (signer) VALUES (NEW.signer);
END;
";
