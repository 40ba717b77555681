//! The commands, one file for each group: its arguments, what it does, and how its result looks.

mod apply;
mod chains;
mod components;
mod dead_letters;
mod deploy;
mod edit;
mod health;
mod jobs;
mod lifecycle;
mod list;
mod processes;
mod records;
mod service;
mod services;
mod signers;
mod upload;
mod validate;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

/// What the tool can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a service document, and work with services on the node
    Service(service::ServiceArgs),
    /// Upload a component to the node and print its digest
    UploadComponent(upload::UploadArgs),
    /// Register the service that a document describes, after setting its URI on chain if asked to
    DeployService(deploy::DeployArgs),
    /// Look at jobs: one for each time a trigger fired
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// Look at the signing keys, rotate them, and move the history of what they signed
    #[command(subcommand)]
    Signers(signers::SignersCommand),
    /// List runs of components with their outcome and what they cost, newest first
    Executions(records::ExecutionsArgs),
    /// Look at jobs that failed, and try them again
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// List events with who signed them and the weight that is missing, newest first
    Quorums(records::QuorumsArgs),
    /// List the transactions of this node, newest first
    Transactions(records::TransactionsArgs),
    /// List the node's chains and how they are followed
    Chains,
    /// List the components that the node has stored, and who uses them
    Components(components::ComponentsArgs),
    /// Look at the node's processes
    #[command(subcommand)]
    Processes(processes::ProcessesCommand),
    /// Check that the node is ready and its chains answer; exit code 1 if not
    Health,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// When it does not work; the failure says which exit code that is.
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Service(args) => args.run(session).await,
            Self::UploadComponent(args) => args.run(session).await,
            Self::DeployService(args) => args.run(session).await,
            Self::Jobs(command) => command.run(session).await,
            Self::Signers(command) => command.run(session).await,
            Self::Executions(args) => args.run(session).await,
            Self::DeadLetters(command) => command.run(session).await,
            Self::Quorums(args) => args.run(session).await,
            Self::Transactions(args) => args.run(session).await,
            Self::Chains => chains::list(session).await,
            Self::Components(args) => args.run(session).await,
            Self::Processes(command) => command.run(session).await,
            Self::Health => health::check(session).await,
        }
    }
}
