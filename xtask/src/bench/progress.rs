//! What the benchmark is doing, on the standard error: a bar on a terminal, a line per step elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// One step of the benchmark; its bar goes away when this is dropped.
pub(super) struct Step(ProgressBar);

impl Step {
    /// Begins a step of `length` parts.
    pub(super) fn new(name: &str, length: u64) -> Result<Self> {
        if !std::io::stderr().is_terminal() {
            eprintln!("{name}");
        }
        let template = "{spinner} {msg} {wide_bar} {pos}/{len} {elapsed}";
        let bar = ProgressBar::new(length).with_style(ProgressStyle::with_template(template)?);
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Ok(Self(bar))
    }

    /// Counts parts that are done.
    pub(super) fn advance(&self, parts: u64) {
        self.0.inc(parts);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
