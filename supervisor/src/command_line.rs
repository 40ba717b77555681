//! The command line of `wavs`.
//!
//! `jail` is the shim that children are started through. It is decided before anything else is parsed, because it must
//! run with one thread and takes arguments of its own.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};
use wavs_service::config::{Flags, Loader};
use wavs_service::exit::{self, Fatal};
use wavs_service::sandbox::Jail;

use crate::{attach, check, config_keys, run, status};

/// Name of the hidden subcommand that children are started through.
pub const JAIL: &str = "jail";

const ABOUT: &str =
    "Runs a WAVS node: watches triggers, runs the components of services, signs results and submits them";

const HELP: &str = "\
Examples:
  wavs                                  start the node; no configuration file is needed
  wavs --dev-endpoints-enabled --data /tmp/wavs --port 0
                                        a throw-away node with the development routes, on any free port
  wavs status                           what the five processes are doing
  wavs check                            what would keep the node from its work here
  wavs config show                      the effective configuration, without secrets
  wavs config keys                      every key of the configuration, with or without a flag

The node is five processes: this one starts and watches the others (wavs-trigger, wavs-engine, wavs-aggregator,
wavs-p2p, installed beside it) and serves the HTTP API. SIGTERM or Ctrl-C stops all in order; SIGHUP loads the configuration
again, restarts the processes whose part changed, and starts those that were blocked.

Exit codes: 0 stopped as asked, 64 wrong command line, 78 wrong configuration, 1 anything else.";

const STATUS_HELP: &str = "Exit codes: 0 every process runs, 1 one of them does not, 3 the node cannot be reached.";

const CHECK_HELP: &str = "\
Nothing is changed and nothing is sent but questions to the configured chains; a node may run meanwhile. Keys are looked at by
wavs-aggregator, which is started for it.

Exit codes: 0 nothing failed, 1 something did, 78 wrong configuration.";

const ATTACH_HELP: &str = "\
The processes run as units of their own (wavs.target); this one starts none, asks each over its control socket how it is,
and serves the HTTP API. It can be restarted at any time: the others do not notice.";

/// The whole program: parses `arguments` (program name first), does it, and answers the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| first == JAIL) {
        return jail(arguments.into_iter().skip(2));
    }
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(said) => {
            // Help and version are "errors" of clap that go to stdout. Nothing can be done if the terminal is gone.
            let _ = said.print();
            return ExitCode::from(if said.use_stderr() { 64 } else { 0 });
        }
    };
    let result = match matches.subcommand() {
        Some(("attach", matches)) => attach::run(Flags::from_matches(matches)).map(|()| ExitCode::SUCCESS),
        Some(("check", matches)) => check::show(Flags::from_matches(matches), matches.get_flag("json")),
        Some(("status", matches)) => status::show(Flags::from_matches(matches), matches.get_flag("json")),
        Some(("config", matches)) => match matches.subcommand() {
            Some(("check", matches)) => check_config(Flags::from_matches(matches)),
            Some(("keys", matches)) => config_keys::show(matches.get_flag("json")),
            Some((_, matches)) => show_config(Flags::from_matches(matches)),
            None => show_config(Flags::from_matches(matches)),
        },
        Some((_, matches)) => run::run(Flags::from_matches(matches)).map(|()| ExitCode::SUCCESS),
        None => run::run(Flags::from_matches(&matches)).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| exit::report(&error))
}

fn command() -> Command {
    // Flags may stand before or behind the subcommand.
    let command = Flags::add_to(Command::new("wavs")).mut_args(|argument| argument.global(true));
    let json = || {
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("Print JSON")
    };
    command
        .about(ABOUT)
        .after_help(HELP)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand(Command::new("run").about("Start the node (this is the default)"))
        .subcommand(
            Command::new("attach")
                .about("Serve the API for processes that systemd runs")
                .after_help(ATTACH_HELP),
        )
        .subcommand(
            Command::new("status")
                .about("Show what the processes are doing")
                .after_help(STATUS_HELP)
                .arg(json()),
        )
        .subcommand(
            Command::new("check")
                .about("Look at this machine, the configuration, the chains and the node, and say what is wrong")
                .after_help(CHECK_HELP)
                .arg(json()),
        )
        .subcommand(
            Command::new("config")
                .about("Show or check the configuration")
                .subcommand(Command::new("show").about("Print the effective values as JSON, without secrets"))
                .subcommand(Command::new("check").about("Load it as a start would; warnings are errors"))
                .subcommand(
                    Command::new("keys")
                        .about("List every key with its built-in value and what it means")
                        .arg(json()),
                ),
        )
}

/// Becomes the child. Errors go to stderr, which the supervisor forwards.
fn jail(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Err(error) = Jail::from_arguments(arguments).and_then(|jail| jail.enter());
    exit::report(&Fatal::config(error.to_string()).into())
}

fn show_config(flags: Flags) -> anyhow::Result<ExitCode> {
    let loaded = Loader::from_process(flags).load()?;
    print(&serde_json::to_string_pretty(&loaded.redacted)?)?;
    Ok(ExitCode::SUCCESS)
}

fn check_config(mut flags: Flags) -> anyhow::Result<ExitCode> {
    flags.strict = true;
    let loaded = Loader::from_process(flags).load()?;
    let source = loaded.file.map_or_else(
        || "no wavs.toml; built-in values".to_owned(),
        |file| file.display().to_string(),
    );
    print(&format!(
        "The configuration is valid ({source}); data directory {}",
        loaded.node.data_dir.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a result on stdout; logs never go there.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_behind_the_subcommand() {
        for line in [["wavs", "--port", "1", "status"], ["wavs", "status", "--port", "1"]] {
            let matches = command().try_get_matches_from(line).unwrap();
            let (_, status) = matches.subcommand().unwrap();
            assert_eq!(
                status.get_one::<String>("port").map(String::as_str),
                Some("1"),
                "{line:?}"
            );
        }
    }
}
