//! What engine-svc died of: the deaths and faults of calls of aggregator components, and the components that are blamed.

/// Deaths that are counted apart from the faults of a guest, and which components they are put down to.
pub(super) const BLAME: &str = "
ALTER TABLE buckets ADD COLUMN faults INTEGER NOT NULL DEFAULT 0;
ALTER TABLE buckets ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
UPDATE buckets SET faults = attempt WHERE input = 'due';
ALTER TABLE timers ADD COLUMN faults INTEGER NOT NULL DEFAULT 0;
ALTER TABLE timers ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
UPDATE timers SET faults = attempt WHERE state = 'armed';
ALTER TABLE targets ADD COLUMN callback_faults INTEGER NOT NULL DEFAULT 0;
ALTER TABLE targets ADD COLUMN callback_deaths INTEGER NOT NULL DEFAULT 0;
UPDATE targets SET callback_faults = callback_attempt WHERE callback = 'due';

-- Deaths of engine-svc, by the component that they are put down to.
CREATE TABLE blamed (
    service_id BLOB NOT NULL,
    component BLOB NOT NULL,
    deaths INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (service_id, component)
) STRICT, WITHOUT ROWID;
";
