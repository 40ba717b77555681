//! What is counted after events flowed: results on the chain, signatures and states in the node's files, the files themselves.
//!
//! The files are opened for reading only, while the node runs, as its operators may do. All events must be of one service
//! whose components wrap what they return as the examples do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use crate::anvil::Anvil;
use crate::contracts::Contracts;

/// How often it is looked whether everything is done.
const LOOK: Duration = Duration::from_millis(100);
/// Rows of one kind that are listed; more are only counted.
const LISTED: usize = 20;

/// What was found. Everything but the counts of what is right should be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Events whose result is at the handler.
    pub landed: u64,
    /// Numbers of events without a result.
    pub lost: Vec<u64>,
    /// Numbers of events with more than one result, and results of no event.
    pub duplicated: Vec<u64>,
    /// Signatures beyond one for each event, or too few of them.
    pub signatures: Vec<String>,
    /// What is not in its last state, or ended otherwise than on the chain.
    pub unfinished: Vec<String>,
    /// Files that are damaged, with what SQLite says.
    pub damaged: Vec<String>,
    /// Files that were checked.
    pub files: u64,
    /// Transactions that were paid for and did nothing.
    pub reverted: u64,
}

impl Findings {
    /// Whether nothing is lost, doubled, left over or damaged.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.lost.is_empty()
            && self.duplicated.is_empty()
            && self.signatures.is_empty()
            && self.unfinished.is_empty()
            && self.damaged.is_empty()
            && self.reverted == 0
    }
}

/// Looks at a node and its chain.
#[derive(Debug)]
pub struct Audit<'a> {
    contracts: &'a Contracts,
    data_dir: PathBuf,
    events: u64,
}

impl<'a> Audit<'a> {
    /// Of contracts that have emitted so many events, and a node with this data directory.
    #[must_use]
    pub fn new(contracts: &'a Contracts, data_dir: PathBuf, events: u64) -> Self {
        Self {
            contracts,
            data_dir,
            events,
        }
    }

    /// Waits until everything is done, and mines blocks meanwhile, because results are final some blocks later.
    ///
    /// # Errors
    /// When it is not done within `limit`; the text has what is left.
    pub async fn settle(&self, chain: &Anvil, limit: Duration, landed: impl Fn(u64)) -> Result<()> {
        let mut looks = tokio::time::interval(LOOK);
        let end = Instant::now() + limit;
        let mut left = String::new();
        while Instant::now() < end {
            looks.tick().await;
            let count = self.contracts.result_count().await?;
            landed(count);
            if count < self.events {
                left = format!("{count} of {} landed", self.events);
                continue;
            }
            // A process that is just starting may hold its file for a moment.
            match self.unfinished() {
                Ok(unfinished) if unfinished.is_empty() => return Ok(()),
                Ok(unfinished) => left = unfinished.join("\n"),
                Err(error) => left = format!("{error:#}"),
            }
            chain.mine().await?;
        }
        bail!("not everything is done after {limit:?}: {left}")
    }

    /// Counts everything.
    ///
    /// # Errors
    /// When the chain does not answer or a file cannot be read.
    pub async fn all(&self) -> Result<Findings> {
        let results = self.contracts.results().await?;
        let mut times: BTreeMap<u64, u64> = (1..=self.events).map(|number| (number, 0)).collect();
        for result in &results {
            *times.entry(result.trigger_id).or_default() += 1;
        }
        let events = 1..=self.events;
        let having = |wrong: &dyn Fn(u64, u64) -> bool| {
            let numbers = times.iter().filter(|(number, times)| wrong(**number, **times));
            numbers.map(|(number, _)| *number).collect::<Vec<_>>()
        };
        let (mut damaged, mut files) = (Vec::new(), 0);
        for file in databases(&self.data_dir)? {
            files += 1;
            damaged.extend(
                damage(&file)
                    .err()
                    .map(|error| format!("{}: {error:#}", file.display())),
            );
        }
        let event_ids: Vec<_> = results.iter().map(|result| result.event_id.to_vec()).collect();
        Ok(Findings {
            landed: times.values().filter(|times| **times > 0).count() as u64,
            lost: having(&|_, times| times == 0),
            duplicated: having(&|number, times| times > 1 || !events.contains(&number)),
            signatures: self.signatures(&event_ids)?,
            unfinished: self.unfinished()?,
            damaged,
            files,
            reverted: self.contracts.reverted().await?,
        })
    }

    /// What the node has still to do, or has given up. Empty when each event is on the chain for good.
    ///
    /// # Errors
    /// When a file cannot be read, as for a moment while its process starts.
    pub fn unfinished(&self) -> Result<Vec<String>> {
        const OPEN: [(&str, &str); 7] = [
            (
                "job",
                "SELECT hex(job) || ' ' || state || ' ' || coalesce(error, '') FROM jobs WHERE state <> 'signed'",
            ),
            (
                "event",
                "SELECT hex(event_id) || ' ' || state || ' ' || coalesce(error, '') FROM events \
                 WHERE state NOT IN ('final', 'landed')",
            ),
            (
                "target",
                "SELECT hex(event_id) || ' ' || state || ' ' || coalesce(error, '') FROM targets \
                 WHERE state NOT IN ('final', 'landed')",
            ),
            ("callback", "SELECT hex(event_id) FROM targets WHERE callback = 'due'"),
            (
                "bucket",
                "SELECT hex(event_id) || ' ' || input FROM buckets WHERE input <> 'done'",
            ),
            (
                "timer",
                "SELECT hex(event_id) || ' ' || state FROM timers WHERE state = 'armed'",
            ),
            (
                "count of jobs",
                "SELECT count(*) || ' jobs, ' || (SELECT count(*) FROM events) || ' events' FROM jobs \
                 HAVING count(*) <> ?1 OR (SELECT count(*) FROM events) <> ?1",
            ),
        ];
        let ledger = self.open("aggregator/ledger.db")?;
        let mut unfinished = Vec::new();
        for (what, sql) in OPEN {
            unfinished.extend(self.rows(&ledger, sql)?.into_iter().map(|row| format!("{what} {row}")));
        }
        let spool = self.open("trigger/spool.db")?;
        let waiting = "SELECT 'entry ' || sequence FROM spool";
        unfinished.extend(
            self.rows(&spool, waiting)?
                .into_iter()
                .map(|row| format!("spool {row}")),
        );
        Ok(unfinished)
    }

    fn rows(&self, file: &Connection, sql: &str) -> Result<Vec<String>> {
        let mut statement = file.prepare(sql)?;
        let text = |row: &rusqlite::Row<'_>| row.get(0);
        let rows = match statement.parameter_count() {
            0 => statement.query_map([], text)?.collect::<Result<Vec<String>, _>>()?,
            _ => statement
                .query_map([i64::try_from(self.events)?], text)?
                .collect::<Result<_, _>>()?,
        };
        let more = rows.len().saturating_sub(LISTED);
        let mut listed: Vec<_> = rows.into_iter().take(LISTED).collect();
        if more > 0 {
            listed.push(format!("and {more} more"));
        }
        Ok(listed)
    }

    fn signatures(&self, event_ids: &[Vec<u8>]) -> Result<Vec<String>> {
        let ledger = self.open("aggregator/ledger.db")?;
        let mut wrong = Vec::new();
        let signed: i64 = ledger.query_row("SELECT count(*) FROM signed", [], |row| row.get(0))?;
        if signed != i64::try_from(self.events)? {
            wrong.push(format!("{signed} signatures for {} events", self.events));
        }
        let mut of_event = ledger.prepare("SELECT count(*) FROM signed WHERE event_id = ?1")?;
        for event_id in event_ids {
            let count: i64 = of_event.query_row([event_id], |row| row.get(0))?;
            if count != 1 && wrong.len() < LISTED {
                wrong.push(format!("{count} signatures of event {event_id:02x?}"));
            }
        }
        Ok(wrong)
    }

    fn open(&self, file: &str) -> Result<Connection> {
        open(&self.data_dir.join(file))
    }
}

fn open(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags).with_context(|| format!("cannot open {}", file.display()))
}

/// Every database beneath a directory.
fn databases(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "db") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// An error when SQLite finds a fault in the file.
fn damage(file: &Path) -> Result<()> {
    let said: String = open(file)?.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    anyhow::ensure!(said == "ok", "{said}");
    Ok(())
}
