//! The process that runs guests.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = wavs_engine::run_subcommand(std::env::args_os()) {
        return code;
    }
    wavs_service::main_with(
        wavs_service::ProcessName::Engine,
        wavs_engine::prepare,
        wavs_engine::run,
    )
}
