//! What is open: the indices by which the events of a service are counted and its waiting jobs read without a look at those of
//! another, how many jobs wait, and which results asked for a target.

/// Our own open events by service.
pub(super) const SCHEMA_OPEN: &str = "
CREATE INDEX events_own_open ON events (service_id) WHERE rank < 10 AND own_digest IS NOT NULL;
";

/// Jobs that wait for a run, the most urgent of each service first.
pub(super) const JOBS_BY_SERVICE: &str = "
DROP INDEX jobs_received;
CREATE INDEX jobs_received ON jobs (service_id, next_ms, job) WHERE state = 'received';
";

/// How many jobs of each service wait, counted in the commit of the job; and which were given up because too many waited.
pub(super) const WAITING: &str = "
CREATE TABLE waiting (
    service_id BLOB PRIMARY KEY,
    jobs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO waiting (service_id, jobs) SELECT service_id, count(*) FROM jobs WHERE state = 'received' GROUP BY service_id;

CREATE TRIGGER count_job_waits AFTER INSERT ON jobs WHEN NEW.state = 'received' BEGIN
    INSERT INTO waiting (service_id, jobs) VALUES (NEW.service_id, 1)
    ON CONFLICT (service_id) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER count_job_waits_again AFTER UPDATE OF state ON jobs
WHEN NEW.state = 'received' AND OLD.state <> 'received' BEGIN
    INSERT INTO waiting (service_id, jobs) VALUES (NEW.service_id, 1)
    ON CONFLICT (service_id) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER count_job_waits_no_more AFTER UPDATE OF state ON jobs
WHEN NEW.state <> 'received' AND OLD.state = 'received' BEGIN
    UPDATE waiting SET jobs = jobs - 1 WHERE service_id = NEW.service_id;
END;

ALTER TABLE jobs ADD COLUMN given_up INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_given_up ON jobs (job) WHERE given_up = 1;

-- What failed is looked for by its source too, because it could be tried again.
DROP INDEX jobs_source;
CREATE INDEX jobs_source ON jobs (source_key) WHERE state IN ('received', 'failed') AND injection IS NULL;
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
