//! `service pause|resume|refresh|history`: what an operator decides about a service on this node, and what was decided.

use std::path::Path;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::deploy::text;
use super::list::{self, column, short, state};
use super::services::{Named, PageArgs};
use crate::failure::Failure;
use crate::session::Session;

/// What can be decided.
#[derive(Debug, Subcommand)]
pub(super) enum LifecycleCommand {
    /// Stop a service on this node alone, whatever its document says; it stays stopped over restarts
    Pause(PauseArgs),
    /// Let a service run again that was paused, or that has a component in quarantine
    Resume(Named),
    /// Read the service URI on chain again, and update the service if its document changed
    Refresh(Named),
    /// Show what was decided about a service, newest first; also of one that was removed
    History(HistoryArgs),
}

/// `service pause`
#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    named: Named,
    /// What becomes of its triggers: drop discards and counts them, hold keeps them until it is resumed, up to a bound
    #[arg(long, default_value = "drop", value_parser = ["drop", "hold"])]
    mode: String,
    /// Why; kept in the history of the service
    #[arg(long, default_value = "")]
    reason: String,
}

/// `service history`
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    page: PageArgs,
}

impl LifecycleCommand {
    pub(super) async fn run(self, file: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Pause(args) => {
                let body = json!({"reason": args.reason, "mode": args.mode});
                decide(args.named, file, "pause", &body, session).await
            }
            Self::Resume(named) => decide(named, file, "resume", &json!({}), session).await,
            Self::Refresh(named) => decide(named, file, "refresh", &json!({}), session).await,
            Self::History(args) => args.run(file, session).await,
        }
    }
}

async fn decide(named: Named, file: &Path, what: &str, body: &Value, session: &mut Session<'_>) -> Result<(), Failure> {
    let id = named.service(file)?.id().to_string();
    let path = ["v1", "services", id.as_str(), what];
    let answer = session.node()?.send_json(Method::POST, &path, body).await?.json()?;
    session.result(&answer, |_| {
        let [name, state, hash] = ["name", "state", "hash"].map(|field| text(&answer, field));
        format!("{name} is {state} under document {hash}")
    })
}

impl HistoryArgs {
    async fn run(self, file: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        let id = self.named.service(file)?.id().to_string();
        let columns = [
            column("at", "/at"),
            state("what", "/what"),
            column("by", "/actor"),
            short("old", "/old_hash"),
            short("new", "/new_hash"),
            column("uri", "/uri"),
            column("cause", "/cause"),
        ];
        let path = ["v1", "services", id.as_str(), "history"];
        list::show(session, &path, &self.page.query(&[]), &columns).await
    }
}
