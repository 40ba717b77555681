//! `executions`, `quorums`, `transactions`, `chains`: what the node has on record about its work.

use clap::Args;

use super::list::{self, column, count, short, state};
use super::services::PageArgs;
use crate::failure::Failure;
use crate::service_ref::ServiceRef;
use crate::session::Session;

/// `executions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wavs-cli executions --outcome guest_fault            # what components did wrong
  wavs-cli executions --job 01J9ZC8T2K6V0Q4W3N5R7X9YAB # every attempt of one job
  wavs-cli executions --kind aggregator --json

Outcomes:
  ok               it gave a result
  guest_fault      it returned an error, trapped, or its result breaks a rule
  limit            it ran into a limit: time, fuel, memory, …
  component_fault  it could not be fetched or compiled
  host_fault       the machine failed; the run is repeated
  ambiguous        engine-svc died during the run; after three the job is quarantined")]
pub(crate) struct ExecutionsArgs {
    /// Only of this job, with what followed from it
    #[arg(long)]
    job: Option<String>,
    /// Only of this service: its id, or CHAIN/ADDRESS of its manager
    #[arg(long)]
    service: Option<ServiceRef>,
    /// Only of this kind of component
    #[arg(long, value_parser = ["operator", "aggregator"])]
    kind: Option<String>,
    /// Only with this outcome
    #[arg(long)]
    outcome: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl ExecutionsArgs {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let service = self.service.map(|service| service.id().to_string());
        let query = self.page.query(&[
            ("job_id", self.job.as_deref()),
            ("service_id", service.as_deref()),
            ("kind", self.kind.as_deref()),
            ("outcome", self.outcome.as_deref()),
        ]);
        let columns = [
            column("ended", "/ended_at"),
            state("outcome", "/outcome"),
            column("kind", "/kind"),
            column("workflow", "/workflow_id"),
            column("attempt", "/attempt"),
            column("ms", "/duration_ms"),
            column("fuel", "/fuel"),
            column("memory", "/memory_peak"),
            short("component", "/digest"),
            column("error", "/error"),
        ];
        list::show(session, &["v1", "executions"], &query, &columns).await
    }
}

/// `quorums`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wavs-cli quorums --state open      # who has signed what, and what is missing
  wavs-cli quorums --state burned --service evm:31337/0x5fbdb2315678afecb367f032d93f642f64180aa3")]
pub(crate) struct QuorumsArgs {
    /// Only of this service: its id, or CHAIN/ADDRESS of its manager
    #[arg(long)]
    service: Option<ServiceRef>,
    /// open, burned, or a state: collecting, quorum, waiting, submitting, mined, final, …
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl QuorumsArgs {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let service = self.service.map(|service| service.id().to_string());
        let query = self
            .page
            .query(&[("service_id", service.as_deref()), ("state", self.state.as_deref())]);
        let columns = [
            column("event", "/event_id"),
            state("state", "/state"),
            column("workflow", "/workflow_id"),
            count("envelopes", "/buckets"),
            count("signers", "/buckets/0/signers"),
            column("weight", "/targets/0/weight"),
            column("threshold", "/targets/0/threshold"),
            column("age s", "/age_s"),
            column("waits for", "/error"),
        ];
        list::show(session, &["v1", "quorums"], &query, &columns).await
    }
}

/// `transactions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wavs-cli transactions --state stored          # what is on its way
  wavs-cli transactions --chain evm:31337 --state reverted --json")]
pub(crate) struct TransactionsArgs {
    /// Only on this chain
    #[arg(long)]
    chain: Option<String>,
    /// Only in this state: stored, mined, final, reverted, replaced, dropped
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl TransactionsArgs {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let query = self
            .page
            .query(&[("chain", self.chain.as_deref()), ("state", self.state.as_deref())]);
        let columns = [
            column("chain", "/chain"),
            column("nonce", "/nonce"),
            state("state", "/state"),
            column("hash", "/hash"),
            column("block", "/receipt_block"),
            column("replaced", "/replacements"),
            column("cost", "/cost"),
            column("reason", "/reason"),
        ];
        list::show(session, &["v1", "transactions"], &query, &columns).await
    }
}
