//! `components`: what the node has stored, and which services use it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::output::lines;
use crate::session::Session;

/// One stored component.
#[derive(Debug, Serialize)]
struct Stored {
    digest: String,
    /// `<service name>/<workflow>` of each use; `(aggregator)` behind it for aggregator components.
    used_by: Vec<String>,
}

pub(super) async fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let answer = session.node()?.get(&["services"], &[]).await?;
    let components = components(&answer);
    session.result(&components, |style| {
        let mut table = style.table(&["digest", "used by"]);
        for component in &components {
            table.add_row(vec![component.digest.clone(), component.used_by.join(", ")]);
        }
        lines(&table)
    })
}

fn components(answer: &Value) -> Vec<Stored> {
    let array = |name: &str| answer.get(name).and_then(Value::as_array).into_iter().flatten();
    let digests = array("component_digests").filter_map(Value::as_str);
    let mut stored: BTreeMap<String, Vec<String>> = digests.map(|digest| (digest.to_owned(), Vec::new())).collect();
    for service in array("services") {
        let name = service.get("name").and_then(Value::as_str).unwrap_or_default();
        let workflows = service
            .get("workflows")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        for (id, workflow) in workflows {
            let uses = [
                ("/component/source", ""),
                ("/submit/aggregator/component/source", " (aggregator)"),
            ];
            for (pointer, role) in uses {
                let users = workflow
                    .pointer(pointer)
                    .and_then(digest)
                    .and_then(|digest| stored.get_mut(digest));
                if let Some(users) = users {
                    users.push(format!("{name}/{id}{role}"));
                }
            }
        }
    }
    stored
        .into_iter()
        .map(|(digest, used_by)| Stored { digest, used_by })
        .collect()
}

/// The digest of a source: `{"digest": D}`, or the member of `download` or `registry`.
fn digest(source: &Value) -> Option<&str> {
    let inner = source.as_object()?.values().next()?;
    inner.as_str().or_else(|| inner.get("digest")?.as_str())
}
