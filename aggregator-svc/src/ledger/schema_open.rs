//! The indices by which the open events of a service are counted, and its jobs read that wait, without a look at those of another;
//! and which results asked for a target.

/// Our own open events by service.
pub(super) const SCHEMA_OPEN: &str = "
CREATE INDEX events_own_open ON events (service_id) WHERE rank < 10 AND own_digest IS NOT NULL;
";

/// Jobs that wait for a run, the most urgent of each service first.
pub(super) const JOBS_BY_SERVICE: &str = "
DROP INDEX jobs_received;
CREATE INDEX jobs_received ON jobs (service_id, next_ms, job) WHERE state = 'received';
";

/// The results whose component asked for a target. It delivers one of them.
pub(super) const NAMINGS: &str = "
CREATE TABLE namings (
    target INTEGER NOT NULL REFERENCES targets (id) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    PRIMARY KEY (target, digest)
) STRICT, WITHOUT ROWID;
INSERT INTO namings (target, digest) SELECT id, digest FROM targets;
";
