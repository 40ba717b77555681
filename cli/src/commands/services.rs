//! `service list|status|show|logs|signer|delete`: services on the node.

use std::path::Path;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::deploy::text;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::lines;
use crate::service_ref::ServiceRef;
use crate::session::Session;

/// What can be asked and done.
#[derive(Debug, Subcommand)]
pub(super) enum ServicesCommand {
    /// List the registered services
    List(ListArgs),
    /// Show how a service is doing
    Status(Named),
    /// Show a service with its document
    Show {
        #[command(flatten)]
        named: Named,
        /// Print the document as it was fetched, and nothing else
        #[arg(long)]
        raw: bool,
    },
    /// Show what the components of a service wrote, oldest first
    Logs(LogsArgs),
    /// Show the key that this node signs the service's results with
    Signer(Named),
    /// Remove a service from the node
    Delete(DeleteArgs),
}

/// Which service.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Service id, or CHAIN/ADDRESS of its manager [default: the service of --file]
    service: Option<ServiceRef>,
}

/// `service list`
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only in this state: pending, active, paused, updating, degraded, failed, deleting
    #[arg(long)]
    state: Option<String>,
    /// Only with a manager on this chain
    #[arg(long)]
    chain: Option<String>,
    /// Only with this text in the name, or at the beginning of the id
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// `service logs`
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    named: Named,
    /// Only of this workflow
    #[arg(long)]
    workflow: Option<String>,
    /// Only of this level, or of stdout or stderr
    #[arg(long)]
    level: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// `service delete`
#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    named: Named,
    /// Also erase what its components stored; this works as well after the service was removed
    #[arg(long)]
    purge: bool,
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(super) struct PageArgs {
    /// Most items, 1 to 500
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Where the page starts: next_cursor of the one before
    #[arg(long)]
    cursor: Option<String>,
}

impl ServicesCommand {
    pub(super) async fn run(self, file: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        let node = session.node()?;
        match self {
            Self::List(args) => args.run(&node, session).await,
            Self::Status(named) => status(&named.service(file)?, &node, session).await,
            Self::Show { named, raw } => show(&named.service(file)?, raw, &node, session).await,
            Self::Logs(args) => args.run(file, &node, session).await,
            Self::Signer(named) => signer(&named.service(file)?, &node, session).await,
            Self::Delete(args) => delete(&args.named.service(file)?, args.purge, &node, session).await,
        }
    }
}

impl Named {
    /// The service that was named, or that of the document.
    pub(super) fn service(self, file: &Path) -> Result<ServiceRef, Failure> {
        ServiceRef::or_of_file(self.service, file)
    }
}

impl PageArgs {
    /// The query of a list; filters that were not given are left out.
    pub(super) fn query(&self, filters: &[(&'static str, Option<&str>)]) -> Vec<(&'static str, String)> {
        let page = [("limit", Some(self.limit.to_string())), ("cursor", self.cursor.clone())];
        let filters = filters.iter().map(|(name, value)| (*name, value.map(str::to_owned)));
        page.into_iter()
            .chain(filters)
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// The items of a page; tells on the log where the next one starts.
pub(super) fn items(page: &Value) -> &[Value] {
    if let Some(cursor) = page.get("next_cursor").and_then(Value::as_str) {
        tracing::info!("there are more: --cursor {cursor}");
    }
    page.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl ListArgs {
    async fn run(self, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
        let filters = [
            ("state", self.state.as_deref()),
            ("chain", self.chain.as_deref()),
            ("q", self.query.as_deref()),
        ];
        let page = node.get(&["v1", "services"], &self.page.query(&filters)).await?;
        session.result(&page, |style| {
            let mut table = style.table(&["name", "state", "manager", "hd", "workflows", "service"]);
            for item in items(&page) {
                let [name, hd, id] = ["name", "hd_index", "service_id"].map(|field| text(item, field).into());
                let state = style.state(&text(item, "state"));
                table.add_row(vec![
                    name,
                    state,
                    manager(item).into(),
                    hd,
                    count(item, "workflows").into(),
                    id,
                ]);
            }
            lines(&table)
        })
    }
}

async fn status(service: &ServiceRef, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
    let status = node
        .get(&["v1", "services", &service.id().to_string(), "status"], &[])
        .await?;
    session.result(&status, |style| style.pairs(&summary(&status)))
}

async fn show(service: &ServiceRef, raw: bool, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
    let id = service.id().to_string();
    if raw {
        let answer = node
            .get_raw(&["v1", "services", &id], &[("raw", "true".to_owned())])
            .await?;
        let document: Box<serde_json::value::RawValue> = serde_json::from_slice(&answer.body)
            .map_err(|cause| Failure::failed("unexpected-answer", cause.to_string()))?;
        return session.result(&document, |_| document.get().to_owned());
    }
    let shown = node.get(&["v1", "services", &id], &[]).await?;
    session.result(&shown, |style| {
        let document = shown
            .get("document")
            .and_then(|document| serde_json::to_string_pretty(document).ok());
        format!("{}\n{}", style.pairs(&summary(&shown)), document.unwrap_or_default())
    })
}

impl LogsArgs {
    async fn run(self, file: &Path, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
        let id = self.named.service(file)?.id().to_string();
        let query = self.page.query(&[
            ("workflow_id", self.workflow.as_deref()),
            ("level", self.level.as_deref()),
        ]);
        let page = node.get(&["v1", "services", &id, "logs"], &query).await?;
        session.result(&page, |_| {
            let line = |item: &Value| {
                let [at, workflow, stream, line] =
                    ["at", "workflow_id", "stream", "line"].map(|field| text(item, field));
                // Guests choose the text: without control characters it cannot steer the terminal.
                let line: String = line
                    .chars()
                    .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
                    .collect();
                format!("{at} {workflow} {stream}: {line}\n")
            };
            items(&page).iter().map(line).collect()
        })
    }
}

async fn signer(service: &ServiceRef, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
    let body = json!({"service_manager": service.manager(node).await?});
    let signer = node
        .send_json(Method::POST, &["services", "signer"], &body)
        .await?
        .json()?;
    session.result(&signer, |style| {
        let key = signer.get("secp256k1").unwrap_or(&Value::Null);
        style.pairs(&[
            ("Address", text(key, "evm_address")),
            ("HD index", text(key, "hd_index")),
        ])
    })
}

/// The API takes unknown services for removed; a user who names one made a mistake, so the node is asked first. A purge may be
/// the second half of a removal, so it is asked for in any case.
async fn delete(service: &ServiceRef, purge: bool, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
    let id = service.id();
    if purge {
        let path = ["v1", "services", &id.to_string()];
        node.delete(&path, &[("purge", "true".to_owned())]).await?;
        return session.result(&json!({"service_id": id, "deleted": true, "purged": true}), |_| {
            format!("service {id} deleted, and what its components stored")
        });
    }
    let manager = service.manager(node).await?;
    super::deploy::read_back(node, &manager).await?;
    node.send_json(Method::DELETE, &["services"], &json!({"service_managers": [manager]}))
        .await?;
    session.result(&json!({"service_id": id, "deleted": true}), |_| {
        format!("service {id} deleted")
    })
}

/// What people want to know first.
fn summary(service: &Value) -> Vec<(&'static str, String)> {
    let fields = [
        ("Name", "name"),
        ("Service", "service_id"),
        ("State", "state"),
        ("Reason", "reason"),
        ("Document says", "document_status"),
        ("Paused here", "operator_paused"),
        ("Hash", "hash"),
        ("URI", "uri"),
        ("Signer", "signer"),
        ("HD index", "hd_index"),
        ("Updated", "updated_at"),
    ];
    let known = |(_, field): &(&str, &str)| service.get(field).is_some_and(|value| !value.is_null());
    let mut pairs: Vec<_> = fields
        .into_iter()
        .filter(known)
        .map(|(label, field)| (label, text(service, field)))
        .collect();
    if service.get("manager").is_some() {
        pairs.insert(pairs.len().min(2), ("Manager", manager(service)));
    }
    let warnings = service.get("warnings").and_then(Value::as_array).into_iter().flatten();
    pairs.extend(warnings.map(|warning| {
        (
            "Warning",
            format!("{}: {}", text(warning, "pointer"), text(warning, "detail")),
        )
    }));
    pairs
}

fn manager(service: &Value) -> String {
    let kinds = service
        .get("manager")
        .and_then(Value::as_object)
        .and_then(|kinds| kinds.values().next());
    kinds.map_or_else(
        || "-".to_owned(),
        |manager| format!("{}/{}", text(manager, "chain"), text(manager, "address")),
    )
}

/// A number, or the length of a list.
fn count(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::Array(items)) => items.len().to_string(),
        _ => text(value, name),
    }
}
