//! A node that runs on the data directory: its processes, its readiness, and what the kernel enforces on each.

use serde_json::Value;
use wavs_service::check::Finding;
use wavs_service::config::NodeConfig;

use crate::status::{self, text};

/// What the node says of itself over its admin socket; a node that does not run has nothing to say.
pub(super) async fn look(node: &NodeConfig) -> Vec<Finding> {
    let socket = &node.http.admin_socket;
    let Ok(processes) = status::ask(socket, "/v1/processes").await else {
        return vec![Finding::good("node", "does not run on this data directory")];
    };
    let rows = items(&processes, "items");
    let mut findings: Vec<_> = rows.iter().map(process).collect();
    match status::ask(socket, "/readyz").await {
        Ok(ready) => {
            let checks = items(&ready, "checks").into_iter();
            findings.extend(
                checks
                    .filter(|check| check["ok"] == false)
                    .map(|check| Finding::failed(format!("ready: {}", text(&check, "name")), text(&check, "detail"))),
            );
            if ready["ready"] == true {
                findings.push(Finding::good("ready", "the node can do its work"));
            }
        }
        Err(error) => findings.push(Finding::warning("ready", format!("cannot be asked: {error:#}"))),
    }
    findings
}

/// One process with the protections in force.
fn process(row: &Value) -> Finding {
    let subject = format!("process {}", text(row, "name"));
    let sandbox: Vec<_> = row["sandbox"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let enforced = if sandbox.is_empty() {
        "nothing is enforced on it".to_owned()
    } else {
        format!("enforced: {}", sandbox.join(", "))
    };
    match text(row, "state") {
        "running" => Finding::good(subject, format!("running; {enforced}")),
        "disabled" => Finding::good(subject, "disabled"),
        state @ ("degraded" | "starting" | "stopping") => Finding::warning(subject, format!("{state}; {enforced}")),
        state => Finding::failed(subject, format!("{state}; `wavs status` says why")),
    }
}

fn items(answer: &Value, name: &str) -> Vec<Value> {
    answer[name].as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wavs_service::check::Verdict;

    use super::*;

    #[test]
    fn a_process_is_judged_by_its_state() {
        for (state, verdict) in [
            ("running", Verdict::Good),
            ("disabled", Verdict::Good),
            ("degraded", Verdict::Warning),
            ("blocked", Verdict::Failed),
            ("failing", Verdict::Failed),
        ] {
            let row = json!({"name": "engine-svc", "state": state, "sandbox": ["seccomp", "landlock"]});
            assert_eq!(process(&row).verdict, verdict, "{state}");
        }
        let row = json!({"name": "engine-svc", "state": "running", "sandbox": ["seccomp", "landlock"]});
        assert_eq!(process(&row).detail, "running; enforced: seccomp, landlock");
    }
}
