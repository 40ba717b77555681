//! `wavs`: runs the node, or looks at a running one.

use std::process::ExitCode;

fn main() -> ExitCode {
    wavs_supervisor::command_line::main(std::env::args_os())
}
