//! What is recorded for people: runs of guests, counters, the history of services, and which failures were dismissed.
//!
//! The counters are kept by triggers of the database: they change in the very commit of the rows that they count, so no
//! stage can forget them and no restart can lose them.

/// Adds the records to the tables of the first version.
pub(super) const RECORDS: &str = "
-- kind: operator, aggregator. outcome: ok or a class of failure. A ring: old rows go as new ones come.
CREATE TABLE executions (
    id INTEGER PRIMARY KEY,
    service_id BLOB NOT NULL,
    workflow_id TEXT NOT NULL,
    component BLOB NOT NULL,
    kind TEXT NOT NULL,
    call TEXT NOT NULL,
    job BLOB,
    event_id BLOB,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT,
    ended_us INTEGER NOT NULL,
    waited_us INTEGER NOT NULL,
    duration_us INTEGER,
    fuel INTEGER,
    memory_peak INTEGER,
    responses INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL
) STRICT;

ALTER TABLE jobs ADD COLUMN dismissed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_dead ON jobs (job) WHERE state = 'failed';
CREATE INDEX events_dead ON events (event_id) WHERE rank IN (10, 11);

-- As last read from the manager, decimal.
ALTER TABLE targets ADD COLUMN weight TEXT;
ALTER TABLE targets ADD COLUMN threshold TEXT;

ALTER TABLE audit ADD COLUMN actor TEXT;
ALTER TABLE audit ADD COLUMN uri TEXT;
ALTER TABLE audit ADD COLUMN old_digest BLOB;
ALTER TABLE audit ADD COLUMN new_digest BLOB;
CREATE INDEX audit_service ON audit (service_id, id);

-- Since the registration of the service; deleted with it.
CREATE TABLE counters (
    service_id BLOB NOT NULL,
    workflow_id TEXT NOT NULL,
    triggers INTEGER NOT NULL DEFAULT 0,
    triggers_dropped INTEGER NOT NULL DEFAULT 0,
    executions_ok INTEGER NOT NULL DEFAULT 0,
    executions_failed INTEGER NOT NULL DEFAULT 0,
    no_output INTEGER NOT NULL DEFAULT 0,
    signed INTEGER NOT NULL DEFAULT 0,
    submitted INTEGER NOT NULL DEFAULT 0,
    finals INTEGER NOT NULL DEFAULT 0,
    landed INTEGER NOT NULL DEFAULT 0,
    reverted INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    last_trigger_us INTEGER,
    last_execution_us INTEGER,
    last_final_us INTEGER,
    last_error_us INTEGER,
    last_error TEXT,
    last_error_job BLOB,
    last_error_stage TEXT,
    PRIMARY KEY (service_id, workflow_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER count_job_stored AFTER INSERT ON jobs BEGIN
    INSERT INTO counters (service_id, workflow_id, triggers, last_trigger_us)
    VALUES (NEW.service_id, NEW.workflow_id, 1, NEW.created_us)
    ON CONFLICT (service_id, workflow_id) DO UPDATE
    SET triggers = triggers + 1, last_trigger_us = excluded.last_trigger_us;
END;

CREATE TRIGGER count_job_ended AFTER UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state AND NEW.state IN ('skipped', 'no_output') BEGIN
    UPDATE counters
    SET triggers_dropped = triggers_dropped + (NEW.error IS NOT NULL AND NEW.error LIKE 'paused:%'),
        no_output = no_output + (NEW.state = 'no_output')
    WHERE service_id = NEW.service_id AND workflow_id = NEW.workflow_id;
END;

CREATE TRIGGER count_job_failed AFTER UPDATE OF state ON jobs
WHEN NEW.state = 'failed' AND OLD.state <> 'failed' BEGIN
    UPDATE counters
    SET failed = failed + 1, last_error_us = NEW.updated_us, last_error = NEW.error, last_error_job = NEW.job,
        last_error_stage = NULL
    WHERE service_id = NEW.service_id AND workflow_id = NEW.workflow_id;
END;

CREATE TRIGGER count_execution AFTER INSERT ON executions BEGIN
    UPDATE counters
    SET executions_ok = executions_ok + (NEW.outcome = 'ok'),
        executions_failed = executions_failed + (NEW.outcome <> 'ok'), last_execution_us = NEW.ended_us
    WHERE service_id = NEW.service_id AND workflow_id = NEW.workflow_id;
END;

CREATE TRIGGER count_event_signed AFTER INSERT ON events WHEN NEW.own_digest IS NOT NULL BEGIN
    INSERT INTO counters (service_id, workflow_id, signed) VALUES (NEW.service_id, NEW.workflow_id, 1)
    ON CONFLICT (service_id, workflow_id) DO UPDATE SET signed = signed + 1;
END;

CREATE TRIGGER count_event_signed_later AFTER UPDATE OF own_digest ON events
WHEN NEW.own_digest IS NOT NULL AND OLD.own_digest IS NULL BEGIN
    UPDATE counters SET signed = signed + 1
    WHERE service_id = NEW.service_id AND workflow_id = NEW.workflow_id;
END;

CREATE TRIGGER count_event_ended AFTER UPDATE OF state ON events
WHEN NEW.state <> OLD.state AND NEW.state IN ('no_output', 'landed', 'final') BEGIN
    UPDATE counters
    SET no_output = no_output + (NEW.state = 'no_output'), landed = landed + (NEW.state = 'landed'),
        finals = finals + (NEW.state = 'final'),
        last_final_us = CASE NEW.state WHEN 'final' THEN NEW.updated_us ELSE last_final_us END
    WHERE service_id = NEW.service_id AND workflow_id = NEW.workflow_id;
END;

CREATE TRIGGER count_event_failed AFTER UPDATE OF state ON events
WHEN NEW.state <> OLD.state AND NEW.state IN ('failed', 'expired') BEGIN
    UPDATE counters
    SET failed = failed + 1, last_error_us = NEW.updated_us, last_error = NEW.error,
        last_error_job = (SELECT job FROM job_events WHERE event_id = NEW.event_id LIMIT 1),
        last_error_stage = CASE WHEN EXISTS (SELECT 1 FROM targets WHERE event_id = NEW.event_id) THEN 'submit'
                                WHEN NEW.state = 'failed' THEN 'aggregate' ELSE 'collect' END
    WHERE service_id = NEW.service_id AND workflow_id = NEW.workflow_id;
END;

CREATE TRIGGER count_submission AFTER UPDATE OF state ON targets
WHEN NEW.state = 'submitting' AND OLD.state <> 'submitting' BEGIN
    UPDATE counters SET submitted = submitted + 1
    WHERE (service_id, workflow_id) = (SELECT service_id, workflow_id FROM events WHERE event_id = NEW.event_id);
END;

CREATE TRIGGER count_revert AFTER UPDATE OF state ON tx
WHEN NEW.state = 'reverted' AND OLD.state <> 'reverted' BEGIN
    UPDATE counters SET reverted = reverted + 1
    WHERE (service_id, workflow_id) = (
        SELECT service_id, workflow_id FROM events JOIN targets USING (event_id)
        WHERE NEW.target = 'target/' || targets.id AND targets.id = CAST(substr(NEW.target, 8) AS INTEGER));
END;
";
