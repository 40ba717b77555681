//! The binary of p2p-svc.

use std::process::ExitCode;

use wavs_service::ProcessName;

fn main() -> ExitCode {
    wavs_service::main(ProcessName::P2p, wavs_p2p::profile, wavs_p2p::run)
}
