//! `processes …`: the node's processes.

use clap::Subcommand;
use serde_json::Value;

use super::deploy::text;
use super::services::items;
use crate::failure::Failure;
use crate::output::lines;
use crate::session::Session;

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum ProcessesCommand {
    /// List the processes with their state and use of memory
    List,
}

impl ProcessesCommand {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
        }
    }
}

async fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let page = session.node()?.get(&["v1", "processes"], &[]).await?;
    session.result(&page, |style| {
        let mut table = style.table(&["name", "state", "pid", "uptime", "restarts", "memory", "note"]);
        for item in items(&page) {
            let [name, pid, restarts] = ["name", "pid", "restarts"].map(|field| text(item, field).into());
            let uptime = item
                .get("uptime_s")
                .and_then(Value::as_u64)
                .map_or_else(|| "-".to_owned(), duration);
            let memory = item
                .get("rss_bytes")
                .and_then(Value::as_u64)
                .map_or_else(|| "-".to_owned(), mebibytes);
            let state = style.state(&text(item, "state"));
            table.add_row(vec![
                name,
                state,
                pid,
                uptime.into(),
                restarts,
                memory.into(),
                note(item).into(),
            ]);
        }
        lines(&table)
    })
}

/// Why a process is not well: its own words, else how it ended last.
fn note(item: &Value) -> String {
    let reasons = item
        .get("reasons")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let reasons: Vec<_> = reasons.collect();
    if !reasons.is_empty() {
        return reasons.join("; ");
    }
    let cause = item.pointer("/last_exit/cause").and_then(Value::as_str);
    cause.map(|cause| format!("last exit: {cause}")).unwrap_or_default()
}

fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes:02}m"),
        (days, hours, ..) => format!("{days}d{hours:02}h"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let all = [9, 61, 3_720, 90_000].map(duration);
        assert_eq!(all, ["9s", "1m01s", "1h02m", "1d01h"]);
        assert_eq!(mebibytes(1_572_864), "1.5 MiB");
    }
}
