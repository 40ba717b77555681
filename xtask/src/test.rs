//! `cargo xtask test`: everything that must hold, in one command.

use std::path::Path;

use anyhow::Result;

use crate::contracts::Contracts;
use crate::guests::Guests;
use crate::shell;

/// Verify the committed artefacts and run every test
///
/// Builds the five binaries first, because end-to-end tests run them.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Only tests whose name contains one of these
    filter: Vec<String>,
}

impl Test {
    /// Runs everything.
    pub(crate) fn run(&self, root: &Path) -> Result<String> {
        Guests { check: true }.run(root)?;
        Contracts { check: true }.run(root)?;
        // The binaries too, with the features that the tests bring in, so that no library is compiled twice.
        shell::cargo(&["build", "--locked", "--workspace", "--bins", "--tests"])?;
        // Fetched once here, so that a test that starts a chain is not the one that waits for it.
        e2e::tools::anvil()?;
        let mut arguments = vec!["test", "--locked", "--workspace"];
        if !self.filter.is_empty() {
            arguments.push("--");
            arguments.extend(self.filter.iter().map(String::as_str));
        }
        shell::cargo(&arguments)?;
        Ok("All tests passed.".to_owned())
    }
}
