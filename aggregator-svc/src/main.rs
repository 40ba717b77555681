//! The binary of aggregator-svc.

use std::process::ExitCode;

use wavs_service::ProcessName;

fn main() -> ExitCode {
    wavs_service::main_with_check(
        ProcessName::Aggregator,
        wavs_aggregator::profile,
        wavs_aggregator::run,
        wavs_aggregator::check::run,
    )
}
