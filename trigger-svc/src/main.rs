//! The binary of trigger-svc.

use std::process::ExitCode;

use wavs_service::ProcessName;

fn main() -> ExitCode {
    wavs_service::main(ProcessName::Trigger, wavs_trigger::profile, wavs_trigger::run)
}
