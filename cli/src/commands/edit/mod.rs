//! Editing a service document in place. Every command reads the file, changes one thing and writes it back; nothing else in the file
//! changes. The JSON results are fixed shapes that scripts rely on.

mod component;
mod component_source;
mod manager;
mod submit;
mod trigger;
mod workflow;

use std::path::Path;

use clap::{Args, ValueEnum};
use serde::Serialize;
use wavs_types::{JsonTree, WorkflowId};

pub(super) use manager::ManagerCommand;
pub(super) use workflow::WorkflowCommand;

use crate::failure::Failure;
use crate::service_file::{ServiceFile, set};
use crate::session::Session;

/// `service init`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wavs-cli service init --name gas-watch -f gas-watch.json")]
pub(super) struct InitArgs {
    /// What people call the service
    #[arg(long)]
    name: String,
}

/// `service update-status`
#[derive(Debug, Args)]
pub(super) struct UpdateStatusArgs {
    /// Whether triggers are executed
    #[arg(long, value_enum)]
    status: Status,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Active,
    Paused,
}

/// Which workflow a command is about.
#[derive(Debug, Args)]
pub(in crate::commands) struct WorkflowArg {
    /// The workflow
    #[arg(long, value_name = "WORKFLOW")]
    id: WorkflowId,
}

/// Result of the commands that only name a workflow.
#[derive(Serialize)]
struct WorkflowResult<'a> {
    workflow_id: &'a WorkflowId,
    file_path: &'a Path,
}

impl InitArgs {
    pub(super) fn run(self, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct InitResult<'a> {
            service: &'a JsonTree,
            file_path: &'a Path,
        }
        let file = ServiceFile::create(path, &self.name)?;
        file.write()?;
        let result = InitResult {
            service: file.tree(),
            file_path: path,
        };
        session.result(&result, |_| {
            format!("service {:?} begun in {}", self.name, path.display())
        })
    }
}

impl UpdateStatusArgs {
    pub(super) fn run(self, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct StatusResult<'a> {
            status: Status,
            file_path: &'a Path,
        }
        let mut file = ServiceFile::read(path)?;
        let word = match self.status {
            Status::Active => "active",
            Status::Paused => "paused",
        };
        set(file.root(), "status", JsonTree::Text(word.to_owned()));
        file.write()?;
        let result = StatusResult {
            status: self.status,
            file_path: path,
        };
        session.result(&result, |_| format!("status is {word} in {}", path.display()))
    }
}
