//! `service workflow submit …`: where results go.

use std::path::Path;

use clap::Subcommand;
use wavs_types::{JsonTree, SignatureKind, WorkflowId};

use super::WorkflowResult;
use super::component::ComponentCommand;
use crate::failure::Failure;
use crate::service_file::{ServiceFile, UNSET, get, get_mut, object, set, tree_of};
use crate::session::Session;

/// The kinds of destinations.
#[derive(Debug, Subcommand)]
pub(super) enum SubmitCommand {
    /// Sign results and submit them through an aggregator component, which `component` sets
    SetAggregator {
        /// Stored for tools of older releases, which ask for it
        #[arg(long)]
        url: Option<String>,
    },
    /// Do not submit results
    SetNone,
    /// Set the aggregator component and its terms
    Component {
        #[command(subcommand)]
        command: ComponentCommand,
    },
}

impl SubmitCommand {
    pub(super) async fn run(self, id: WorkflowId, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        let destination = match self {
            Self::Component { command } => return command.run(id, true, path, session).await,
            Self::SetNone => {
                let mut file = ServiceFile::read(path)?;
                set(file.workflow(&id)?, "submit", JsonTree::Text("none".to_owned()));
                file.write()?;
                "none"
            }
            Self::SetAggregator { url } => {
                let mut file = ServiceFile::read(path)?;
                set_aggregator(file.workflow(&id)?, url)?;
                file.write()?;
                "an aggregator"
            }
        };
        let result = WorkflowResult {
            workflow_id: &id,
            file_path: path,
        };
        session.result(&result, |_| {
            format!("results of workflow {id} go to {destination} in {}", path.display())
        })
    }
}

/// An aggregator that is there already keeps its component and signature kind.
fn set_aggregator(workflow: &mut JsonTree, url: Option<String>) -> Result<(), Failure> {
    let known = get(workflow, "submit")
        .and_then(|submit| get(submit, "aggregator"))
        .is_some();
    if !known {
        let mut submit = object();
        set(&mut submit, "aggregator", object());
        set(workflow, "submit", submit);
    }
    let aggregator = get_mut(workflow, "submit").and_then(|submit| get_mut(submit, "aggregator"));
    let Some(aggregator) = aggregator else { return Ok(()) };
    if let Some(url) = url {
        set(aggregator, "url", JsonTree::Text(url));
    }
    if get(aggregator, "component").is_none() {
        set(aggregator, "component", JsonTree::Text(UNSET.to_owned()));
    }
    if get(aggregator, "signature_kind").is_none() {
        set(aggregator, "signature_kind", tree_of(&SignatureKind::EIP191)?);
    }
    Ok(())
}
