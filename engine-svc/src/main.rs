//! The process that runs guests.

use std::process::ExitCode;

fn main() -> ExitCode {
    wavs_service::main(wavs_service::ProcessName::Engine, wavs_engine::run)
}
