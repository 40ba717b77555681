//! `service …`: editing a document in place, and services on the node.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::deploy::DeployArgs;
use super::{apply, edit, lifecycle, services, validate};
use crate::failure::Failure;
use crate::session::Session;

/// `service [--file FILE] …`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct ServiceArgs {
    /// The service document to work on
    #[arg(short, long, global = true, value_name = "FILE", default_value = "./service.json")]
    file: PathBuf,
    #[command(subcommand)]
    command: ServiceCommand,
}

const EXAMPLES: &str = "\
Examples:
  wavs-cli service init --name gas-watch
  wavs-cli service -f other.json validate
  wavs-cli service status                      # the service of ./service.json
  wavs-cli service status evm:31337/0x5fbdb2315678afecb367f032d93f642f64180aa3
  wavs-cli service list --state active --json
  wavs-cli service pause --reason 'upgrade of the oracle'
  wavs-cli service history";

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Start a new document
    Init(edit::InitArgs),
    /// Check the document; exit code 1 if it has errors
    Validate(validate::ValidateArgs),
    /// Set whether the service runs
    UpdateStatus(edit::UpdateStatusArgs),
    /// Name the contract that owns the service
    #[command(subcommand)]
    Manager(edit::ManagerCommand),
    /// Edit the workflows
    #[command(subcommand)]
    Workflow(edit::WorkflowCommand),
    /// Upload the document to the node, point the manager contract to it if asked to, and register the service
    Apply(apply::ApplyArgs),
    /// The same as deploy-service
    Deploy(DeployArgs),
    #[command(flatten)]
    Registered(services::ServicesCommand),
    #[command(flatten)]
    Lifecycle(lifecycle::LifecycleCommand),
}

impl ServiceArgs {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let file = self.file;
        match self.command {
            ServiceCommand::Init(args) => args.run(&file, session),
            ServiceCommand::Validate(args) => args.run(&file, session).await,
            ServiceCommand::UpdateStatus(args) => args.run(&file, session),
            ServiceCommand::Manager(command) => command.run(&file, session),
            ServiceCommand::Workflow(command) => command.run(&file, session).await,
            ServiceCommand::Apply(args) => args.run(&file, session).await,
            ServiceCommand::Deploy(args) => args.run(session).await,
            ServiceCommand::Registered(command) => command.run(&file, session).await,
            ServiceCommand::Lifecycle(command) => command.run(&file, session).await,
        }
    }
}
