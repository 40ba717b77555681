//! Running cargo, with its own progress on the terminal.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Which optimisation a build uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// The cargo that runs this task.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The name of the machine that this one compiles for.
pub(crate) fn host_triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// The directory of all build results.
pub(crate) fn target_dir() -> Result<std::path::PathBuf> {
    let profile = e2e::tools::profile_dir()?;
    Ok(profile
        .parent()
        .context("the build directory has no parent")?
        .to_owned())
}

/// Runs the cargo that runs this task.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    let status = Command::new(cargo_program())
        .args(arguments)
        .current_dir(e2e::tools::repository())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed with {status}", arguments.join(" "));
    }
    Ok(())
}

/// Builds all binaries of the node and answers the directory that they are in.
pub(crate) fn build_node(profile: Profile) -> Result<std::path::PathBuf> {
    let mut arguments = vec!["build", "--locked"];
    if profile == Profile::Release {
        arguments.push("--release");
    }
    cargo(&arguments)?;
    node_dir(profile)
}

/// The directory that the binaries of the node are in once they are built.
pub(crate) fn node_dir(profile: Profile) -> Result<std::path::PathBuf> {
    Ok(target_dir()?.join(match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    }))
}
