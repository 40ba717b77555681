//! `service workflow …`: adding and removing workflows, and the way to their parts.

use std::path::Path;

use clap::{Args, Subcommand};
use ulid::Ulid;
use wavs_types::{JsonTree, WorkflowId};

use super::component::ComponentCommand;
use super::submit::SubmitCommand;
use super::trigger::TriggerCommand;
use super::{WorkflowArg, WorkflowResult};
use crate::failure::{Exit, Failure};
use crate::service_file::{ServiceFile, ServiceFileError, UNSET};
use crate::session::Session;

/// Workflows and their parts.
#[derive(Debug, Subcommand)]
pub(in crate::commands) enum WorkflowCommand {
    /// Add a workflow whose parts are still unset
    Add {
        /// Its id: 3 to 36 of a-z, 0-9, _ and -; a fresh UUID if left out
        #[arg(long, value_name = "WORKFLOW")]
        id: Option<WorkflowId>,
    },
    /// Remove a workflow
    Delete(WorkflowArg),
    /// Set the component that the workflow runs, and its terms
    Component(ComponentArgs),
    /// Set when the workflow runs
    Trigger(TriggerArgs),
    /// Set where results go
    Submit(SubmitArgs),
}

/// `service workflow component --id W …`
#[derive(Debug, Args)]
#[command(after_help = COMPONENT_EXAMPLES)]
pub(in crate::commands) struct ComponentArgs {
    #[command(flatten)]
    workflow: WorkflowArg,
    #[command(subcommand)]
    command: ComponentCommand,
}

/// `service workflow trigger --id W …`
#[derive(Debug, Args)]
#[command(after_help = TRIGGER_EXAMPLES)]
pub(in crate::commands) struct TriggerArgs {
    #[command(flatten)]
    workflow: WorkflowArg,
    #[command(subcommand)]
    command: TriggerCommand,
}

/// `service workflow submit --id W …`
#[derive(Debug, Args)]
#[command(after_help = SUBMIT_EXAMPLES)]
pub(in crate::commands) struct SubmitArgs {
    #[command(flatten)]
    workflow: WorkflowArg,
    #[command(subcommand)]
    command: SubmitCommand,
}

const COMPONENT_EXAMPLES: &str = "\
Examples:
  wavs-cli service workflow component --id on-request set-source-uri --uri ipfs://bafybeig…
  wavs-cli service workflow component --id on-request permissions --http-hosts api.example.org --file-system true
  wavs-cli service workflow component --id on-request permissions --http-hosts ''      # none
  wavs-cli service workflow component --id on-request time-limit --seconds 30
  wavs-cli service workflow component --id on-request config --values unit=gwei,limit=10
  wavs-cli service workflow component --id on-request env --values WAVS_ENV_API_KEY";

const TRIGGER_EXAMPLES: &str = "\
Examples:
  wavs-cli service workflow trigger --id on-request set-evm --chain evm:31337 \\
      --address 0xe7f1725e7734ce288f8367e1bb143e90bb3f0512 --event-hash 'NewTrigger(bytes)'
  wavs-cli service workflow trigger --id heartbeat set-cron --schedule '0 */5 * * * *'
  wavs-cli service workflow trigger --id blocks set-block-interval --chain evm:31337 --n-blocks 10 --start-block 1";

const SUBMIT_EXAMPLES: &str = "\
Examples:
  wavs-cli service workflow submit --id on-request set-aggregator
  wavs-cli service workflow submit --id on-request component set-source-digest --digest 4bf5122f…
  wavs-cli service workflow submit --id on-request component config --values evm:31337=0x9fe46736679d2d9a65f0992f2272de9f3c7fa6e0";

impl WorkflowCommand {
    pub(in crate::commands) async fn run(self, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Add { id } => add(id, path, session),
            Self::Delete(workflow) => delete(&workflow.id, path, session),
            Self::Component(args) => args.command.run(args.workflow.id, false, path, session).await,
            Self::Trigger(args) => args.command.run(&args.workflow.id, path, session),
            Self::Submit(args) => args.command.run(args.workflow.id, path, session).await,
        }
    }
}

fn add(id: Option<WorkflowId>, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
    let id = id.map_or_else(uuid_v7, Ok)?;
    let mut file = ServiceFile::read(path)?;
    let workflows = file.workflows()?;
    if workflows.iter().any(|(name, _)| name == id.as_str()) {
        let detail = format!(
            "{} has a workflow `{id}` already; choose another --id, or delete it first",
            path.display()
        );
        return Err(Failure::new(Exit::Conflict, "workflow-exists", detail));
    }
    let parts = ["trigger", "component", "submit"].map(|part| (part.to_owned(), JsonTree::Text(UNSET.to_owned())));
    workflows.push((id.to_string(), JsonTree::Object(parts.into())));
    file.write()?;
    let result = WorkflowResult {
        workflow_id: &id,
        file_path: path,
    };
    session.result(&result, |_| format!("workflow {id} added to {}", path.display()))
}

fn delete(id: &WorkflowId, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut file = ServiceFile::read(path)?;
    let found: Result<_, ServiceFileError> = file.workflow(id).map(drop);
    found?;
    file.workflows()?.retain(|(name, _)| name != id.as_str());
    file.write()?;
    let result = WorkflowResult {
        workflow_id: id,
        file_path: path,
    };
    session.result(&result, |_| format!("workflow {id} removed from {}", path.display()))
}

/// A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then random bits, which is a ULID with two fields set.
fn uuid_v7() -> Result<WorkflowId, Failure> {
    let bits = Ulid::generate().0;
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x7 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    text.parse()
        .map_err(|error: wavs_types::ParseWorkflowIdError| Failure::failed("internal", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_uuids_of_version_7() {
        let id = uuid_v7().unwrap().to_string();
        let parts: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(&id[14..15], "7", "{id}");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }
}
