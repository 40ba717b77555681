//! `health`: one look at everything that must be well, with an exit code for scripts.

use serde_json::{Value, json};

use super::chains::health_of;
use super::deploy::text;
use crate::failure::{Exit, Failure};
use crate::output::lines;
use crate::session::Session;

pub(super) async fn check(session: &mut Session<'_>) -> Result<(), Failure> {
    let node = session.node()?;
    let health = node.get(&["health"], &[]).await?;
    let ready = match node.probe(&["readyz"]).await {
        Ok(ready) => ready,
        // A node of an older release has no such path; then its chains are all there is to know.
        Err(failure) if failure.exit() == Exit::NotFound => json!({"ready": true}),
        Err(failure) => return Err(failure),
    };
    let is_ready = ready.get("ready").and_then(Value::as_bool).unwrap_or(false);
    let names: Vec<String> = health
        .get("chains")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let healthy = names.iter().all(|name| health_of(&health, name).0 == "healthy");
    let well = is_ready && healthy;
    session.result(&json!({"healthy": well, "ready": ready, "health": health}), |style| {
        let mut table = style.table(&["check", "state", "detail"]);
        table.add_row(vec![
            "node".into(),
            style.state(if is_ready { "ready" } else { "not ready" }),
            String::new().into(),
        ]);
        for item in ready.get("checks").and_then(Value::as_array).into_iter().flatten() {
            let ok = item.get("ok").and_then(Value::as_bool).unwrap_or(false);
            let detail = item.get("detail").and_then(Value::as_str).unwrap_or_default();
            table.add_row(vec![
                text(item, "name").into(),
                style.state(if ok { "ok" } else { "failed" }),
                detail.into(),
            ]);
        }
        for name in &names {
            let (state, error) = health_of(&health, name);
            table.add_row(vec![
                format!("chain {name}").into(),
                style.state(state),
                error.unwrap_or_default().into(),
            ]);
        }
        lines(&table)
    })?;
    // The result says what is wrong; only the exit code is left to give.
    if well { Ok(()) } else { Err(Failure::silent()) }
}
