//! `jobs …`: what became of each trigger.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::deploy::text;
use super::services::{PageArgs, items};
use crate::failure::Failure;
use crate::output::lines;
use crate::service_ref::ServiceRef;
use crate::session::Session;

/// What can be asked.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  wavs-cli jobs list --state failed
  wavs-cli jobs list --service evm:31337/0x5fbdb2315678afecb367f032d93f642f64180aa3 --json
  wavs-cli jobs show 01J9ZC8T2K6V0Q4W3N5R7X9YAB")]
pub(crate) enum JobsCommand {
    /// List jobs, newest first
    List(Box<ListArgs>),
    /// Show a job with its timeline
    Show {
        /// The job
        job: String,
    },
}

/// `jobs list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only of this service: its id, or CHAIN/ADDRESS of its manager
    #[arg(long)]
    service: Option<ServiceRef>,
    /// Only of this workflow
    #[arg(long)]
    workflow: Option<String>,
    /// Only in this state: received, executed, signed, …, mined, final, failed
    #[arg(long)]
    state: Option<String>,
    /// Only the one with this event id
    #[arg(long)]
    event: Option<String>,
    /// Only of this kind of trigger, such as evm_contract_event or cron
    #[arg(long)]
    trigger: Option<String>,
    /// Only from then on, such as 2026-02-01T10:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only from before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl JobsCommand {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(args) => args.run(session).await,
            Self::Show { job } => show(&job, session).await,
        }
    }
}

impl ListArgs {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let service = self.service.map(|service| service.id().to_string());
        let query = self.page.query(&[
            ("service_id", service.as_deref()),
            ("workflow_id", self.workflow.as_deref()),
            ("state", self.state.as_deref()),
            ("event_id", self.event.as_deref()),
            ("trigger_type", self.trigger.as_deref()),
            ("since", self.since.as_deref()),
            ("until", self.until.as_deref()),
        ]);
        let page = session.node()?.get(&["v1", "jobs"], &query).await?;
        session.result(&page, |style| {
            let mut table = style.table(&["job", "state", "workflow", "trigger", "attempts", "created", "service"]);
            for item in items(&page) {
                let [job, workflow, trigger, attempts, created] =
                    ["job_id", "workflow_id", "trigger_type", "attempts", "created_at"]
                        .map(|field| text(item, field).into());
                let service: String = text(item, "service_id").chars().take(12).collect();
                let state = style.state(&text(item, "state"));
                table.add_row(vec![job, state, workflow, trigger, attempts, created, service.into()]);
            }
            lines(&table)
        })
    }
}

async fn show(job: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let shown = session.node()?.get(&["v1", "jobs", job], &[]).await?;
    session.result(&shown, |style| {
        let fields = [
            ("Job", "job_id"),
            ("State", "state"),
            ("Service", "service_id"),
            ("Workflow", "workflow_id"),
            ("Trigger", "trigger_type"),
            ("Source", "source"),
            ("Attempts", "attempts"),
            ("Created", "created_at"),
            ("Updated", "updated_at"),
            ("Error", "error"),
        ];
        let mut all = style.pairs(&fields.map(|(label, field)| (label, text(&shown, field))));
        for event in list(&shown, "events") {
            all.push_str(&format!(
                "\nEvent {}: {}\n",
                text(event, "event_id"),
                text(event, "state")
            ));
            for target in list(event, "targets") {
                let [chain, handler, state, tx] = ["chain", "handler", "state", "tx"].map(|field| text(target, field));
                all.push_str(&format!("  {state} at {handler} on {chain}, transaction {tx}\n"));
            }
        }
        let steps = list(&shown, "timeline").map(|step| format!("  {} {}\n", text(step, "at"), text(step, "step")));
        let steps: String = steps.collect();
        if !steps.is_empty() {
            all.push_str(&format!("\nTimeline:\n{steps}"));
        }
        all
    })
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}
