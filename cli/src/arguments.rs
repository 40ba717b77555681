//! The command line: flags that every command takes, and the commands. Each command's own arguments are in its file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser};

use crate::commands::Command;

/// Flags with a truth value, which may be left out when it is `true`.
const SWITCHES: [&str; 3] = ["--json", "--quiet-results", "--save-deployment"];

/// Work with a WAVS node: write service documents, deploy services, look at jobs.
#[derive(Debug, Parser)]
#[command(
    name = "wavs-cli",
    version,
    about = "Work with a WAVS node: write service documents, deploy services, look at jobs.",
    after_help = EXAMPLES,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes, at any position.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Directory with wavs.toml [env: WAVS_CLI_HOME, WAVS_HOME]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// The node's API [default: http://127.0.0.1:8000]
    #[arg(long, global = true, value_name = "URL")]
    wavs_endpoint: Option<String>,
    /// File with NAME=value lines, read before ./.env [env: WAVS_DOTENV]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) dotenv: Option<PathBuf>,
    /// Directives for the log on stderr, such as warn or info,alloy=debug
    #[arg(long, global = true, value_name = "DIRECTIVES", action = ArgAction::Append)]
    log_level: Vec<String>,
    /// Where deployments.json is kept
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// Your phrase or 0x key for transactions on EVM chains; file:PATH and env:NAME keep it out of the process list
    #[arg(long, global = true, value_name = "CREDENTIAL")]
    evm_credential: Option<String>,
    /// Your phrase for Cosmos chains
    #[arg(long, global = true, value_name = "CREDENTIAL")]
    cosmos_mnemonic: Option<String>,
    /// The token for the node's API; file:PATH and env:NAME work here too [env: WAVS_CLI_TOKEN]
    #[arg(long, global = true, value_name = "CREDENTIAL")]
    token: Option<String>,
    /// Talk to the node over its Unix socket instead of the endpoint
    #[arg(long, global = true, value_name = "PATH")]
    admin_socket: Option<String>,
    /// Gateways for ipfs:// addresses, separated by commas
    #[arg(long, global = true, value_name = "URLS")]
    ipfs_gateway: Option<String>,
    /// Record deployments in deployments.json [default: true]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    save_deployment: Option<bool>,
    /// Print no results on stdout [default: false]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    quiet_results: Option<bool>,
    /// Print one JSON value on stdout: the result, or the problem [default: false]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    json: Option<bool>,
}

/// Shown below the help of the program.
const EXAMPLES: &str = "\
Examples:
  Write a service document and check it:
    wavs-cli service init --name gas-watch
    wavs-cli service workflow add --id on-request
    wavs-cli service workflow trigger --id on-request set-evm --chain evm:31337 \\
        --address 0xe7f1725e7734ce288f8367e1bb143e90bb3f0512 --event-hash 'NewTrigger(bytes)'
    wavs-cli service workflow component --id on-request set-source-digest --digest $(wavs-cli upload-component gas.wasm | tail -1)
    wavs-cli service workflow submit --id on-request set-none
    wavs-cli service manager set-evm --chain evm:31337 --address 0x5fbdb2315678afecb367f032d93f642f64180aa3
    wavs-cli service validate --offline
  Bring it to a node:
    wavs-cli service apply --set-uri
    wavs-cli service status
    wavs-cli jobs list --service evm:31337/0x5fbdb2315678afecb367f032d93f642f64180aa3

Exit codes:
  0 done   1 failed or invalid   2 usage or configuration   3 node unreachable
  4 not found   5 conflict   6 not authorised

Configuration: the tables [default] and [cli] of wavs.toml, then WAVS_CLI_<KEY>, then flags.
Results are on stdout, the log is on stderr.";

impl Globals {
    /// The values that override the configuration: key, flag and raw text.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let levels = (!self.log_level.is_empty()).then(|| self.log_level.join(","));
        let switch = |value: Option<bool>| value.map(|value| value.to_string());
        let all = [
            ("wavs_endpoint", "--wavs-endpoint", self.wavs_endpoint.clone()),
            ("log_level", "--log-level", levels),
            ("data", "--data", self.data.clone()),
            ("evm_credential", "--evm-credential", self.evm_credential.clone()),
            ("cosmos_mnemonic", "--cosmos-mnemonic", self.cosmos_mnemonic.clone()),
            ("token", "--token", self.token.clone()),
            ("admin_socket", "--admin-socket", self.admin_socket.clone()),
            ("ipfs_gateway", "--ipfs-gateway", self.ipfs_gateway.clone()),
            ("save_deployment", "--save-deployment", switch(self.save_deployment)),
            ("quiet_results", "--quiet-results", switch(self.quiet_results)),
            ("json", "--json", switch(self.json)),
        ];
        all.into_iter()
            .filter_map(|(key, flag, value)| Some((key, flag, value?)))
    }
}

/// Gives a bare switch its value, so that the parser does not take the next word for it: in `--json service list`, `service` is the
/// command. What follows `--` is left alone.
pub(crate) fn with_switch_values(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let end = arguments
        .iter()
        .position(|argument| argument == "--")
        .unwrap_or(arguments.len());
    let mut complete = Vec::with_capacity(arguments.len());
    for (index, argument) in arguments.iter().enumerate() {
        let next_is_value = arguments
            .get(index + 1)
            .is_some_and(|next| next == "true" || next == "false");
        match argument.to_str() {
            Some(name) if index < end && SWITCHES.contains(&name) && !next_is_value => {
                complete.push(OsString::from(format!("{name}=true")));
            }
            _ => complete.push(argument.clone()),
        }
    }
    complete
}

/// Whether `--json` is on, told from the words alone: for command lines that do not parse.
pub(crate) fn asks_for_json(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().take_while(|word| *word != "--").peekable();
    let mut asked = false;
    while let Some(word) = words.next() {
        if word == "--json" {
            asked = words.peek().is_none_or(|next| *next != "false");
        } else if word == "--json=true" || word == "--json=false" {
            asked = word == "--json=true";
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_switches_do_not_swallow_the_next_word() {
        let check = |line: &str, expected: &str, json: bool| {
            let words = || line.split(' ').map(OsString::from).collect::<Vec<_>>();
            let expected: Vec<_> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(with_switch_values(words()), expected);
            assert_eq!(asks_for_json(&with_switch_values(words())), json, "{line}");
        };
        check("cli --json service list", "cli --json=true service list", true);
        check("cli service list --json", "cli service list --json=true", true);
        check("cli --json true health", "cli --json true health", true);
        check(
            "cli --json false --quiet-results health",
            "cli --json false --quiet-results=true health",
            false,
        );
        check(
            "cli upload-component -- --json",
            "cli upload-component -- --json",
            false,
        );
    }
}
