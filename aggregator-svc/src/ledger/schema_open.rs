//! The index by which the open events of a service are counted, without a look at any row.

/// Our own open events by service.
pub(super) const SCHEMA_OPEN: &str = "
CREATE INDEX events_own_open ON events (service_id) WHERE rank < 10 AND own_digest IS NOT NULL;
";
