//! `wavs status`: the processes of a running node, asked over its admin socket.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use comfy_table::{Table, presets};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use wavs_service::config::{Audience, Flags, Loader};

use crate::command_line::print;

/// Longest wait for the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Exit code when no node answers.
const UNREACHABLE: u8 = 3;

/// Prints the processes; the exit code says whether all run.
///
/// # Errors
/// When the configuration is wrong or the answer is not understood.
pub fn show(flags: Flags, json: bool) -> anyhow::Result<ExitCode> {
    let loaded = Loader::from_process(flags).only_for(Audience::Nobody).load()?;
    let socket = loaded.node.http.admin_socket;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let processes = match runtime.block_on(ask(&socket, "/v1/processes")) {
        Ok(processes) => processes,
        Err(error) => {
            eprintln!(
                "No node answers on {}: {error:#}. Is it running on this data directory?",
                socket.display()
            );
            return Ok(ExitCode::from(UNREACHABLE));
        }
    };
    let items = processes
        .get("items")
        .and_then(Value::as_array)
        .context("the node gave another answer than expected")?;
    print(&if json {
        serde_json::to_string_pretty(&processes)?
    } else {
        table(items)
    })?;
    let all_run = items
        .iter()
        .all(|item| matches!(text(item, "state"), "running" | "disabled"));
    Ok(ExitCode::from(u8::from(!all_run)))
}

/// The answer of a running node to a GET over its admin socket, also when it is 503: that is what `/readyz` says no with.
pub(crate) async fn ask(socket: &Path, path: &str) -> anyhow::Result<Value> {
    tokio::time::timeout(PATIENCE, get(socket, path)).await?
}

async fn get(socket: &Path, path: &str) -> anyhow::Result<Value> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    anyhow::ensure!(
        status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE,
        "the node answered {status}"
    );
    Ok(serde_json::from_slice(&body)?)
}

fn table(items: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["PROCESS", "STATE", "PID", "RESTARTS", "UPTIME", "MEMORY", "HEALTH"]);
    for item in items {
        let number = |key: &str| item.get(key).and_then(Value::as_u64);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.add_row([
            text(item, "name").to_owned(),
            text(item, "state").to_owned(),
            or_dash(number("pid").map(|pid| pid.to_string())),
            or_dash(number("restarts").map(|restarts| restarts.to_string())),
            or_dash(number("uptime_s").map(duration)),
            or_dash(number("rss_bytes").map(|bytes| format!("{} MiB", bytes / (1024 * 1024)))),
            health(item),
        ]);
    }
    table.to_string()
}

/// The health with its reasons; for a process that is down, how it ended.
fn health(item: &Value) -> String {
    let reasons: Vec<&str> = item
        .get("reasons")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let last_exit = item
        .get("last_exit")
        .filter(|exit| !exit.is_null() && item.get("pid").is_none_or(Value::is_null));
    match (text(item, "health"), last_exit) {
        ("", None) => "-".to_owned(),
        ("", Some(exit)) => {
            let how = exit.get("signal").and_then(Value::as_str).map_or_else(
                || {
                    exit.get("code")
                        .and_then(Value::as_i64)
                        .map_or_else(|| "not started".to_owned(), |code| format!("exit code {code}"))
                },
                str::to_owned,
            );
            format!("down: {} ({how})", text(exit, "cause"))
        }
        (health, _) if reasons.is_empty() => health.to_owned(),
        (health, _) => format!("{health}: {}", reasons.join("; ")),
    }
}

pub(crate) fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_says_what_is_wrong() {
        let rows = table(&[
            json!({"name": "engine-svc", "state": "running", "pid": 7, "restarts": 1, "uptime_s": 3700, "rss_bytes": 5 << 20, "health": "running"}),
            json!({"name": "p2p-svc", "state": "blocked", "pid": null, "restarts": 0, "last_exit": {"cause": "blocked", "code": 78, "signal": null}}),
            json!({"name": "trigger-svc", "state": "degraded", "pid": 8, "health": "degraded", "reasons": ["chain x is down"]}),
        ]);
        for part in [
            "1h 1m",
            "5 MiB",
            "down: blocked (exit code 78)",
            "degraded: chain x is down",
        ] {
            assert!(rows.contains(part), "{part} is missing in\n{rows}");
        }
    }
}
