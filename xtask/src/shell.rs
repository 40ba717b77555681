//! Running cargo, with its own progress on the terminal.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Which optimisation a build uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Runs the cargo that runs this task.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
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
    let target = e2e::tools::profile_dir()?
        .parent()
        .context("the build directory has no parent")?
        .to_owned();
    Ok(target.join(match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    }))
}
