//! Dead letters: jobs that ended as `failed` or `expired`, whether they failed themselves or their events did.
//!
//! A retry opens the rows of the stage that failed and nothing before it. What was signed stays signed: a job that is run
//! again goes through the sign-once rows, and an event that is opened again keeps the envelope that it has.

use rusqlite::{Connection, Result, params};
use wavs_ipc::contract::records::{DeadLetter, DeadLetterQuery, MAX_ROWS, RetryDeadLetters, Stage};
use wavs_ipc::contract::registry::JobQuery;
use wavs_types::{B256, EventId, ServiceId};

use super::columns::blob;
use super::history::{self, Actor, Note};
use super::select::{Select, bytes, integer};
use super::state::State;
use super::{counters, events, views};

/// Reasons of failed jobs whose run was fine; all other reasons belong to the run.
const SIGN_REASONS: [&str; 6] = [
    "duplicate_event_id",
    "too_large",
    "signer_missing",
    "sign_failed",
    "equivocation_refused",
    "history_unconfirmed",
];

/// Where a job failed whose error this is.
pub(super) fn stage_of_job(error: &str) -> Stage {
    let reason = error.split(':').next().unwrap_or_default();
    if SIGN_REASONS.contains(&reason) {
        Stage::Sign
    } else {
        Stage::Execute
    }
}

/// One row per dead letter: job, service, stage, error, end.
fn dead() -> String {
    let sign_reasons = SIGN_REASONS.map(|reason| format!("'{reason}'")).join(", ");
    format!(
        "SELECT job, service_id, stage, error, max(ended_us) AS ended_us FROM (
             SELECT job, service_id, error, updated_us AS ended_us,
                    CASE WHEN substr(error, 1, instr(error, ':') - 1) IN ({sign_reasons}) THEN 'sign' ELSE 'execute' END AS stage
             FROM jobs WHERE state = 'failed' AND dismissed = 0
             UNION ALL
             SELECT jobs.job, jobs.service_id, events.error, events.updated_us,
                    CASE WHEN EXISTS (SELECT 1 FROM targets WHERE targets.event_id = events.event_id AND targets.rank IN (10, 11)) THEN 'submit'
                         WHEN EXISTS (SELECT 1 FROM buckets WHERE buckets.event_id = events.event_id AND input <> 'done') THEN 'aggregate'
                         ELSE 'collect' END
             FROM events JOIN job_events USING (event_id) JOIN jobs USING (job)
             WHERE events.rank IN (10, 11) AND jobs.state = 'signed' AND dismissed = 0
               AND NOT EXISTS (SELECT 1 FROM job_events AS other JOIN events AS open USING (event_id)
                               WHERE other.job = jobs.job AND open.rank < 10)
         ) GROUP BY job"
    )
}

/// A dead letter before its job is read.
struct Found {
    job: u128,
    service_id: ServiceId,
    stage: Stage,
    error: String,
}

fn find(conn: &Connection, query: &DeadLetterQuery, order: &str) -> Result<Vec<Found>> {
    Select::new(format!(
        "SELECT job, service_id, stage, error FROM ({}) WHERE 1",
        dead()
    ))
    .with("job = ?", query.job.map(|job| bytes(&job.to_be_bytes())))
    .with("service_id = ?", query.service_id.map(|id| bytes(id.as_bytes())))
    .with("stage = ?", query.stage.map(|stage| stage.as_str().to_owned()))
    .with(
        "ended_us >= ?",
        query.since_ms.map(|since| integer(since.saturating_mul(1_000))),
    )
    .with("job < ?", query.before.map(|job| bytes(&job.to_be_bytes())))
    .rows(conn, order, query.max, MAX_ROWS, |row| {
        let stage: String = row.get(2)?;
        Ok(Found {
            job: u128::from_be_bytes(row.get(0)?),
            service_id: ServiceId::new(row.get(1)?),
            stage: Stage::parse(&stage).unwrap_or(Stage::Execute),
            error: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
        })
    })
}

/// Dead letters that match, newest first.
pub fn list(conn: &Connection, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    for found in find(conn, query, "job DESC")? {
        let of_job = JobQuery {
            job: Some(found.job),
            max: 1,
            ..JobQuery::default()
        };
        let Some(job) = views::jobs(conn, &of_job)?.into_iter().next() else {
            continue;
        };
        let (deaths, size) = conn
            .prepare_cached("SELECT deaths, length(action) FROM jobs WHERE job = ?1")?
            .query_row([found.job.to_be_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (reason, detail) = found.error.split_once(": ").unwrap_or((found.error.as_str(), ""));
        letters.push(DeadLetter {
            job,
            stage: found.stage,
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            deaths,
            size,
        });
    }
    Ok(letters)
}

/// How long the rows of a service that are opened again may take, as times in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For collecting signatures.
    pub collect_ms: u64,
    /// For landing.
    pub submit_ms: u64,
}

/// Work that a retry made due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The run of a job.
    Job(ServiceId, u128),
    /// `process-input` of an envelope.
    Input(ServiceId, EventId, B256),
    /// A target.
    Target(ServiceId, i64),
}

/// What came of a retry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retried {
    /// Jobs that go on.
    pub jobs: u32,
    /// Jobs that match but whose service is not registered.
    pub orphans: u32,
    /// Jobs that match but for whose run there is no room among those that wait.
    pub beyond: u32,
    /// What is to be done now.
    pub due: Vec<Due>,
}

/// Opens dead letters again, oldest first; those that have to run as long as fewer than `max_waiting` jobs wait. `deadlines`
/// answers none for a service that is not registered.
pub fn retry(
    tx: &Connection,
    request: &RetryDeadLetters,
    deadlines: impl Fn(&ServiceId) -> Option<Deadlines>,
    max_waiting: u64,
    now_us: u64,
) -> Result<Retried> {
    let query = DeadLetterQuery {
        job: request.job,
        service_id: request.service_id,
        stage: request.stage,
        max: request.max,
        ..DeadLetterQuery::default()
    };
    let mut retried = Retried::default();
    for found in find(tx, &query, "job")? {
        let Some(deadlines) = deadlines(&found.service_id) else {
            retried.orphans += 1;
            continue;
        };
        let runs = matches!(found.stage, Stage::Execute | Stage::Sign);
        if runs && counters::backlog(tx)? >= max_waiting {
            retried.beyond += 1;
            continue;
        }
        retried.jobs += 1;
        tx.prepare_cached("UPDATE jobs SET dismissed = 0 WHERE job = ?1")?
            .execute([found.job.to_be_bytes()])?;
        match found.stage {
            Stage::Execute | Stage::Sign => {
                open_job(tx, found.job, now_us)?;
                retried.due.push(Due::Job(found.service_id, found.job));
            }
            Stage::Aggregate | Stage::Collect | Stage::Submit => {
                for event_id in ended_events(tx, found.job)? {
                    open_event(tx, found.service_id, &event_id, deadlines, now_us, &mut retried.due)?;
                }
            }
        }
    }
    Ok(retried)
}

/// The deaths of engine-svc are forgiven; the number of the attempt goes on, so that its runs are new ones for engine-svc.
fn open_job(tx: &Connection, job: u128, now_us: u64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE jobs SET state = 'received', error = NULL, attempt = attempt + 1, deaths = 0, faults = 0, next_ms = 0,
                         given_up = 0, updated_us = ?2, timeline = json_insert(timeline, '$[#]', json_array('retried', ?2))
         WHERE job = ?1 AND state = 'failed'",
    )?
    .execute(params![job.to_be_bytes(), now_us])?;
    Ok(())
}

fn ended_events(tx: &Connection, job: u128) -> Result<Vec<EventId>> {
    tx.prepare_cached(
        "SELECT event_id FROM job_events JOIN events USING (event_id) WHERE job = ?1 AND rank IN (10, 11) AND bare = 0 ORDER BY event_id",
    )?
    .query_map([job.to_be_bytes()], |row| row.get(0).map(EventId::new))?
    .collect()
}

fn open_event(
    tx: &Connection,
    service: ServiceId,
    event_id: &EventId,
    deadlines: Deadlines,
    now_us: u64,
    due: &mut Vec<Due>,
) -> Result<()> {
    let event = blob(event_id.as_bytes());
    // A target that was tried looks for its landing before it is tried again, so its attempts are kept; the callback
    // tells the new outcome, in an attempt of its own: engine-svc knows a run by its number.
    let targets: Vec<i64> = tx
        .prepare_cached(
            "UPDATE targets SET state = ?2, rank = ?3, error = NULL, attempt = max(attempt, 1), reverts = 0, next_ms = 0,
                                deadline_ms = ?4, callback = 'none', callback_ms = 0,
                                callback_faults = 0, callback_deaths = 0,
                                callback_attempt = callback_attempt + 1
             WHERE event_id = ?1 AND rank IN (10, 11) RETURNING id",
        )?
        .query_map(
            params![
                event,
                State::Collecting,
                State::Collecting.rank(),
                deadlines.submit_ms
            ],
            |row| row.get(0),
        )?
        .collect::<Result<_>>()?;
    let mut envelopes: Vec<B256> = Vec::new();
    if targets.is_empty() {
        envelopes = tx
            .prepare_cached(
                "UPDATE buckets SET input = 'due', attempt = attempt + 1, faults = 0, deaths = 0, next_ms = 0
                 WHERE event_id = ?1 AND digest = (SELECT own_digest FROM events WHERE event_id = ?1) RETURNING digest",
            )?
            .query_map([event], |row| row.get::<_, [u8; 32]>(0).map(B256::from))?
            .collect::<Result<_>>()?;
    }
    tx.prepare_cached(
        "UPDATE events SET state = ?2, rank = ?3, error = NULL, deadline_ms = max(?4, ?5), updated_us = ?6,
                           timeline = json_insert(timeline, '$[#]', json_array('retried', ?6))
         WHERE event_id = ?1 AND rank IN (10, 11)",
    )?
    .execute(params![
        event,
        State::Collecting,
        State::Collecting.rank(),
        deadlines.collect_ms,
        deadlines.submit_ms,
        now_us
    ])?;
    events::follow_targets(tx, event_id, now_us)?;
    due.extend(targets.into_iter().map(|id| Due::Target(service, id)));
    due.extend(
        envelopes
            .into_iter()
            .map(|digest| Due::Input(service, *event_id, digest)),
    );
    Ok(())
}

/// Takes a job off the dead letters and notes it in the history of its service. False: it is not among them.
pub fn dismiss(tx: &Connection, job: u128, now_ms: u64) -> Result<bool> {
    let query = DeadLetterQuery {
        job: Some(job),
        max: 1,
        ..DeadLetterQuery::default()
    };
    let Some(found) = find(tx, &query, "job")?.into_iter().next() else {
        return Ok(false);
    };
    tx.execute("UPDATE jobs SET dismissed = 1 WHERE job = ?1", [job.to_be_bytes()])?;
    let cause = format!("job {} at {}: {}", ulid::Ulid(job), found.stage.as_str(), found.error);
    history::note(
        tx,
        &found.service_id,
        &Note::new("dead-letter-dropped", Actor::Api, cause),
        now_ms,
    )?;
    Ok(true)
}
