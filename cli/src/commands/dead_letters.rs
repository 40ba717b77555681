//! `dead-letters …`: jobs that ended without doing what they were for.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::deploy::text;
use super::list::{self, column, known_pairs, short, state};
use super::services::PageArgs;
use crate::failure::Failure;
use crate::service_ref::ServiceRef;
use crate::session::Session;

/// Where a job can end.
const STAGES: [&str; 5] = ["execute", "sign", "aggregate", "collect", "submit"];

/// What can be asked and done.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  wavs-cli dead-letters list --stage submit
  wavs-cli dead-letters show 01J9ZC8T2K6V0Q4W3N5R7X9YAB
  wavs-cli dead-letters retry 01J9ZC8T2K6V0Q4W3N5R7X9YAB
  wavs-cli dead-letters retry --service evm:31337/0x5fbdb2315678afecb367f032d93f642f64180aa3 --max 500

A retry goes on where the job failed, under the same job and event ids. What was signed before is never signed
differently, so a retry is safe at any time. Remove the cause first: `show` names it, and
`wavs-cli executions --job JOB` has every attempt.")]
pub(crate) enum DeadLettersCommand {
    /// List dead letters, newest first
    List(ListArgs),
    /// Show a dead letter with its job
    Show {
        /// The job
        job: String,
    },
    /// Try one again, or all that match
    Retry(RetryArgs),
    /// Take one off the list for good
    #[command(alias = "discard")]
    Drop {
        /// The job
        job: String,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only of this service: its id, or CHAIN/ADDRESS of its manager
    #[arg(long)]
    service: Option<ServiceRef>,
    /// Only of this stage
    #[arg(long, value_parser = STAGES)]
    stage: Option<String>,
}

/// `dead-letters list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// Only those that ended since then, such as 2026-02-01T10:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// `dead-letters retry`
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The job; without it, all that match
    #[arg(conflicts_with_all = ["service", "stage", "max"], required_unless_present_any = ["service", "stage", "all"])]
    job: Option<String>,
    /// Every dead letter of the node
    #[arg(long, conflicts_with_all = ["job", "service", "stage"])]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Most of them, the oldest first
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    max: u32,
}

impl DeadLettersCommand {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(args) => args.run(session).await,
            Self::Show { job } => show(&job, session).await,
            Self::Retry(args) => args.run(session).await,
            Self::Drop { job } => drop_one(&job, session).await,
        }
    }
}

impl ListArgs {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let service = self.which.service.map(|service| service.id().to_string());
        let query = self.page.query(&[
            ("service_id", service.as_deref()),
            ("stage", self.which.stage.as_deref()),
            ("since", self.since.as_deref()),
        ]);
        let columns = [
            column("job", "/job_id"),
            state("state", "/state"),
            column("stage", "/stage"),
            column("reason", "/error_class"),
            column("attempts", "/attempts"),
            column("last attempt", "/last_attempt_at"),
            short("service", "/service_id"),
            column("detail", "/error"),
        ];
        list::show(session, &["v1", "dead-letters"], &query, &columns).await
    }
}

async fn show(job: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let shown = session.node()?.get(&["v1", "dead-letters", job], &[]).await?;
    let fields = [
        ("Job", "job_id"),
        ("State", "state"),
        ("Stage", "stage"),
        ("Reason", "error_class"),
        ("Detail", "error"),
        ("Service", "service_id"),
        ("Workflow", "workflow_id"),
        ("Attempts", "attempts"),
        ("Engine deaths", "engine_deaths"),
        ("First attempt", "first_attempt_at"),
        ("Last attempt", "last_attempt_at"),
        ("Size", "size"),
    ];
    session.result(&shown, |style| style.pairs(&known_pairs(&shown, &fields)))
}

impl RetryArgs {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let node = session.node()?;
        let path: Vec<&str> = match &self.job {
            Some(job) => vec!["v1", "dead-letters", job, "retry"],
            None => vec!["v1", "dead-letters", "retry"],
        };
        let mut body = Map::from_iter([("max".to_owned(), Value::from(self.max))]);
        let service = self.which.service.map(|service| service.id().to_string());
        for (name, value) in [("service_id", service), ("stage", self.which.stage.clone())] {
            body.extend(value.map(|value| (name.to_owned(), Value::from(value))));
        }
        let answer = node.send_json(Method::POST, &path, &body).await?.json()?;
        session.result(&answer, |_| {
            format!(
                "{} jobs are tried again; wavs-cli jobs list shows how they do",
                text(&answer, "accepted")
            )
        })
    }
}

async fn drop_one(job: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let node = session.node()?;
    node.send_json(Method::DELETE, &["v1", "dead-letters", job], &json!({}))
        .await?;
    session.result(&json!({"job_id": job, "dropped": true}), |_| {
        format!("dead letter {job} dropped; the job itself is still listed until its retention")
    })
}
