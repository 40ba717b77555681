//! The command line of the four processes. They are usually started by the supervisor, so it is short.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};

use crate::config::Flags;
use crate::process::ProcessName;

/// What `--help` says beneath the options.
const ABOUT: &str = "This process is one of five; it is usually started by `wavs` or by systemd, which pass its sockets (ctl, rpc) and its \
configuration by the LISTEN_FDS protocol. Started by hand it loads wavs.toml itself and binds its sockets below the data directory.

Exit codes: 0 stopped as asked, 64 wrong command line, 78 wrong configuration or version, 1 anything else.";

/// What the command line asked for.
pub(crate) enum Asked {
    /// Run with these configuration flags.
    Run(Flags),
    /// Look at what only this process can see, and end.
    Check(Flags),
    /// Everything is said; end with this code.
    Done(ExitCode),
}

/// Reads the arguments of `name`, the program name first. `checks`: it has a subcommand `check`.
pub(crate) fn parse(name: ProcessName, checks: bool, arguments: impl IntoIterator<Item = OsString>) -> Asked {
    let command = command(name, checks);
    match command.try_get_matches_from(arguments) {
        Ok(matches) => match matches.subcommand() {
            Some((_, matches)) => Asked::Check(Flags::from_matches(matches)),
            None => Asked::Run(Flags::from_matches(&matches)),
        },
        Err(said) => {
            // Help and version are "errors" of clap that go to stdout. Nothing can be done if the terminal is gone.
            let _ = said.print();
            Asked::Done(ExitCode::from(if said.use_stderr() { 64 } else { 0 }))
        }
    }
}

fn command(name: ProcessName, checks: bool) -> Command {
    // Flags may stand before or behind the subcommand; the version belongs to the program.
    let command = Flags::add_to(Command::new(name.binary())).mut_args(|argument| argument.global(true));
    let command = command
        .about(name.purpose())
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(ABOUT)
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .long("version")
                .short('V')
                .action(ArgAction::Version)
                .help("Print the version"),
        );
    if !checks {
        return command;
    }
    let about = "Look at what only this process can see, and print the findings as JSON; part of `wavs check`";
    command.subcommand(Command::new("check").about(about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_are_consistent() {
        for checks in [false, true] {
            command(ProcessName::Aggregator, checks).debug_assert();
        }
        let ask =
            |checks, arguments: &[&str]| parse(ProcessName::Aggregator, checks, arguments.iter().map(OsString::from));
        assert!(matches!(ask(true, &["x", "check", "--port", "1"]), Asked::Check(_)));
        assert!(matches!(ask(true, &["x", "--port", "1"]), Asked::Run(_)));
        assert!(matches!(ask(false, &["x", "check"]), Asked::Done(_)));
    }
}
