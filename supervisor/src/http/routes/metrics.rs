//! `GET /metrics`: the metrics of all processes in the Prometheus text format 0.0.4.
//!
//! Each process renders its own text; here every sample gets the label `process` and the families are merged, since a family
//! may appear only once. A process that does not answer is missing, and `wavs_process_up` says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use wavs_service::ProcessName;

use crate::http::api::Api;
use crate::proc_stats::ProcStats;
use crate::supervise::snapshot::ProcessState;

/// A process that does not answer so quickly is left out.
const SCRAPE: Duration = Duration::from_secs(3);

/// The merged metrics.
pub async fn show(State(api): State<Api>) -> Response {
    let mut families = Families::default();
    let asked = ProcessName::ALL.map(|process| {
        let api = &api;
        async move {
            (
                process,
                api.lifecycle(process, SCRAPE, async |client, context| client.metrics(context).await)
                    .await,
            )
        }
    });
    for (process, text) in futures::future::join_all(asked).await {
        if let Ok(text) = text {
            families.add(process.full(), &text);
        }
    }
    families.add("supervisor", &api.metrics().render());
    add_own(&mut families, &api);
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        families.render(),
    )
        .into_response()
}

/// What only the supervisor knows.
fn add_own(families: &mut Families, api: &Api) {
    let mut text = String::from("# TYPE wavs_process_up gauge\n# TYPE wavs_process_restarts_total counter\n");
    text.push_str("# TYPE wavs_process_resident_memory_bytes gauge\n# TYPE wavs_process_cpu_seconds gauge\n");
    text.push_str("# TYPE wavs_process_open_fds gauge\n# TYPE wavs_process_heartbeat_age_seconds gauge\n");
    text.push_str("# TYPE wavs_process_log_lines_dropped_total counter\n");
    families.add("supervisor", &text);
    for snapshot in api.processes() {
        let mut text = String::new();
        let up = u8::from(snapshot.state == ProcessState::Running);
        // Writing to a String does not fail.
        let _ = writeln!(text, "wavs_process_up {up}");
        for (cause, count) in &snapshot.restart_causes {
            let _ = writeln!(text, "wavs_process_restarts_total{{cause=\"{cause}\"}} {count}");
        }
        let _ = writeln!(
            text,
            "wavs_process_log_lines_dropped_total {}",
            snapshot.log_lines_dropped
        );
        if let Some(heartbeat) = snapshot.heartbeat {
            let _ = writeln!(
                text,
                "wavs_process_heartbeat_age_seconds {}",
                heartbeat.elapsed().as_secs_f64()
            );
        }
        resources(&mut text, snapshot.pid);
        families.add(snapshot.name, &text);
    }
    let mut text = String::from("wavs_process_up 1\n");
    resources(&mut text, Some(std::process::id()));
    families.add("supervisor", &text);
}

fn resources(text: &mut String, pid: Option<u32>) {
    let Some(stats) = pid.and_then(ProcStats::of) else {
        return;
    };
    let _ = writeln!(text, "wavs_process_resident_memory_bytes {}", stats.rss_bytes);
    let _ = writeln!(text, "wavs_process_cpu_seconds {}", stats.cpu_seconds);
    if let Some(fds) = stats.open_fds {
        let _ = writeln!(text, "wavs_process_open_fds {fds}");
    }
}

/// Metric families by name.
#[derive(Debug, Default)]
struct Families(BTreeMap<String, Family>);

#[derive(Debug, Default)]
struct Family {
    help: Option<String>,
    kind: Option<String>,
    samples: Vec<String>,
}

impl Families {
    /// Adds the text of one process. Lines that are no samples are left out.
    fn add(&mut self, process: &str, text: &str) {
        // Histograms and summaries have samples whose names extend that of the family.
        let mut current: Option<String> = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let (Some(what), Some(name)) = (words.next(), words.next()) else {
                    continue;
                };
                let value = words.next().unwrap_or_default().to_owned();
                let family = self.0.entry(name.to_owned()).or_default();
                match what {
                    "HELP" => drop(family.help.get_or_insert(value)),
                    "TYPE" => drop(family.kind.get_or_insert(value)),
                    _ => continue,
                }
                current = Some(name.to_owned());
                continue;
            }
            let Some(end) = line.find(['{', ' ']).filter(|end| *end > 0) else {
                continue;
            };
            let name = &line[..end];
            let family = current
                .as_deref()
                .filter(|family| belongs(name, family))
                .unwrap_or(name);
            self.0
                .entry(family.to_owned())
                .or_default()
                .samples
                .push(labelled(line, end, process));
        }
    }

    fn render(&self) -> String {
        let mut text = String::new();
        for (name, family) in self.0.iter().filter(|(_, family)| !family.samples.is_empty()) {
            if let Some(help) = &family.help {
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            if let Some(kind) = &family.kind {
                let _ = writeln!(text, "# TYPE {name} {kind}");
            }
            for sample in &family.samples {
                let _ = writeln!(text, "{sample}");
            }
        }
        text
    }
}

fn belongs(sample: &str, family: &str) -> bool {
    sample
        .strip_prefix(family)
        .is_some_and(|rest| matches!(rest, "" | "_bucket" | "_sum" | "_count" | "_total"))
}

/// A sample with one label more; `end` is where its name ends.
fn labelled(line: &str, end: usize, process: &str) -> String {
    let (name, rest) = line.split_at(end);
    match rest.strip_prefix('{') {
        Some(labels) if labels.starts_with('}') => format!("{name}{{process=\"{process}\"{labels}"),
        Some(labels) => format!("{name}{{process=\"{process}\",{labels}"),
        None => format!("{name}{{process=\"{process}\"}}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_several_processes_are_merged() {
        let mut families = Families::default();
        families.add(
            "a",
            "# HELP x_seconds Time\n# TYPE x_seconds histogram\nx_seconds_bucket{le=\"1\"} 2\nx_seconds_sum 3\nup 1\n",
        );
        families.add("b", "# TYPE x_seconds histogram\nx_seconds_count{} 4\n\nnonsense\n");
        assert_eq!(
            families.render(),
            "up{process=\"a\"} 1\n# HELP x_seconds Time\n# TYPE x_seconds histogram\n\
             x_seconds_bucket{process=\"a\",le=\"1\"} 2\nx_seconds_sum{process=\"a\"} 3\nx_seconds_count{process=\"b\"} 4\n"
        );
    }
}
