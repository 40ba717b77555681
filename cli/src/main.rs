//! The command line client: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let surroundings = wavs_cli::Surroundings::of_process();
    let mut stdout = std::io::stdout().lock();
    let mut stderr = std::io::stderr();
    wavs_cli::main(std::env::args_os(), surroundings, &mut stdout, &mut stderr).into()
}
