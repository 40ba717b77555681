//! The programs of the node: are all there, and are they of one release?

use std::path::Path;
use std::process::Command;

use wavs_service::ProcessName;
use wavs_service::check::Finding;

use crate::programs;

/// Looks for every program where a start would.
pub(super) fn look() -> Vec<Finding> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    let path = std::env::var_os("PATH");
    let find = |process: ProcessName| match programs::find(process.binary(), beside, path.as_deref()) {
        Ok(program) => version(process.binary(), &program),
        Err(error) => Finding::failed(process.binary(), error.to_string()),
    };
    ProcessName::ALL.into_iter().map(find).collect()
}

fn version(name: &'static str, program: &Path) -> Finding {
    let said = Command::new(program).arg("--version").env_clear().output();
    let said = match said {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => return Finding::failed(name, format!("{} cannot be executed: {error}", program.display())),
    };
    let ours = env!("CARGO_PKG_VERSION");
    match said.rsplit(' ').next() {
        Some(version) if version == ours => Finding::good(name, format!("{ours}, {}", program.display())),
        _ => Finding::failed(
            name,
            format!(
                "{} says {said:?}, but this program is {ours}; install all of one release",
                program.display()
            ),
        ),
    }
}
