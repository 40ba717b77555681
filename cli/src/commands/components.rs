//! `components`: what the node has stored, and which workflows use it.

use clap::Args;
use serde_json::Value;

use super::deploy::text;
use super::services::{PageArgs, items};
use crate::failure::Failure;
use crate::output::lines;
use crate::session::Session;

/// `components`
#[derive(Debug, Args)]
pub(crate) struct ComponentsArgs {
    #[command(flatten)]
    page: PageArgs,
}

impl ComponentsArgs {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let query = self.page.query(&[]);
        let page = session.node()?.get(&["v1", "components"], &query).await?;
        session.result(&page, |style| {
            let mut table = style.table(&["digest", "bytes", "used by"]);
            for item in items(&page) {
                table.add_row(vec![text(item, "digest"), text(item, "size"), users(item)]);
            }
            lines(&table)
        })
    }
}

/// `<service name>/<workflow>` of each use; `(aggregator)` behind it where it is that component of the workflow.
fn users(component: &Value) -> String {
    let users = component.get("used_by").and_then(Value::as_array).into_iter().flatten();
    let shown = users.map(|user| {
        let [service, workflow, kind] = ["service", "workflow_id", "kind"].map(|field| text(user, field));
        let role = if kind == "aggregator" { " (aggregator)" } else { "" };
        format!("{service}/{workflow}{role}")
    });
    shown.collect::<Vec<_>>().join(", ")
}
