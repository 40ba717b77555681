//! The command line client of the node.
//!
//! A command line becomes a [`arguments::Cli`], the surroundings and the flags become a [`config::Config`], and one file in
//! [`commands`] for each group does the work. The tool talks HTTP to the node ([`node`]) and reads or writes files; it talks to a chain
//! only to send the user's own transaction or to check what a document names ([`evm`]). Results go through [`output`], errors and
//! exit codes through [`failure`]. Nothing here depends on the processes of the node.

mod arguments;
mod commands;
pub mod config;
pub mod deployments;
pub mod download;
pub mod evm;
pub mod failure;
pub mod node;
pub mod output;
pub mod service_file;
pub mod service_ref;
pub mod session;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use clap::Parser;
use tracing_subscriber::EnvFilter;

use arguments::Cli;
pub use config::Surroundings;
pub use failure::{Exit, Failure};
use output::{Output, Style};
use session::Session;

/// Runs a command line, the name of the program first, and says how it ended.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: Surroundings,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Exit {
    let arguments = arguments::with_switch_values(arguments);
    let switched = surroundings.variable("WAVS_CLI_JSON") == Some("true");
    let mut style = Style {
        json: switched || arguments::asks_for_json(&arguments),
        quiet: false,
        colour: surroundings.colour(),
    };
    let ended = match Cli::try_parse_from(&arguments) {
        Ok(cli) => run(cli, surroundings, &mut style, stdout),
        Err(error) if !error.use_stderr() => {
            let help = if style.colour {
                error.render().ansi().to_string()
            } else {
                error.render().to_string()
            };
            write!(stdout, "{help}").map_err(Failure::from)
        }
        Err(error) => Err(Failure::usage(
            error.render().to_string().trim_start_matches("error: ").trim_end(),
        )),
    };
    ended.map_or_else(|failure| report(&failure, style, stdout, stderr), |()| Exit::Done)
}

fn run(cli: Cli, surroundings: Surroundings, style: &mut Style, stdout: &mut dyn Write) -> Result<(), Failure> {
    let colour_log = io::stderr().is_terminal() && surroundings.variable("NO_COLOR").is_none();
    let loaded = config::load(&cli.globals, surroundings)?;
    style.json = loaded.config.json;
    style.quiet = loaded.config.quiet_results;
    log_to_stderr(&loaded.config.log_level, colour_log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(file) = &loaded.file {
        tracing::debug!(file = %file.display(), "configuration loaded");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Failure::failed("internal", format!("cannot start the runtime: {cause}")))?;
    let mut session = Session {
        config: loaded.config,
        output: Output::new(stdout, *style),
    };
    runtime.block_on(cli.command.run(&mut session))
}

/// The first call wins: a process has one log.
fn log_to_stderr(directives: &[String], colour: bool) -> Result<(), Failure> {
    let text = directives.join(",");
    let filter = EnvFilter::try_new(&text)
        .map_err(|cause| Failure::new(Exit::Usage, "configuration", format!("log_level `{text}`: {cause}")))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .without_time();
    let _ = log.try_init().is_ok();
    Ok(())
}

/// Prints a failure: as JSON on stdout, else as text on stderr.
fn report(failure: &Failure, style: Style, stdout: &mut dyn Write, stderr: &mut dyn Write) -> Exit {
    let printed = if failure.is_silent() {
        Ok(())
    } else if style.json {
        Output::new(stdout, style).problem(&failure.problem())
    } else {
        let findings = failure
            .findings()
            .map(|finding| format!("\n  {finding}"))
            .collect::<String>();
        writeln!(stderr, "error: {failure}{findings}")
    };
    // There is no other place to complain.
    let _ = printed.is_ok();
    failure.exit()
}
