//! The indices by which the open events of a service are counted, and its jobs read that wait, without a look at those of another.

/// Our own open events by service.
pub(super) const SCHEMA_OPEN: &str = "
CREATE INDEX events_own_open ON events (service_id) WHERE rank < 10 AND own_digest IS NOT NULL;
";

/// Jobs that wait for a run, the most urgent of each service first.
pub(super) const JOBS_BY_SERVICE: &str = "
DROP INDEX jobs_received;
CREATE INDEX jobs_received ON jobs (service_id, next_ms, job) WHERE state = 'received';
";
