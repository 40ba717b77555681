//! `cargo xtask fuzz`: the fuzz targets, on the compiler that builds everything else.
//!
//! cargo-fuzz adds sanitizers, which take a nightly compiler. What finds the way into a parser is the coverage of its branches,
//! and LLVM counts that on a stable compiler too.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell;

/// What counts branches and comparisons (clang's SanitizerCoverage), as cargo-fuzz sets it.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// All of them, one binary each in `fuzz/fuzz_targets`.
const TARGETS: [&str; 3] = ["frame", "results", "patterns"];
/// What libFuzzer exits with when an input broke a target.
const FOUND: i32 = 77;
/// Largest input in bytes.
const MAX_INPUT: u32 = 4096;

/// Search for inputs that break what takes bytes from outside
///
/// What was found to be interesting is kept in fuzz/corpus and is where the next run starts. An input that breaks something
/// is kept in fuzz/artifacts, and printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Fuzz {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only these targets: frame, results, patterns
    targets: Vec<String>,
}

impl Fuzz {
    /// Builds and runs the targets, one after the other.
    pub(crate) fn run(&self, root: &Path) -> Result<String> {
        for target in &self.targets {
            ensure!(
                TARGETS.contains(&target.as_str()),
                "there is no fuzz target {target:?}; there are {}",
                TARGETS.join(", ")
            );
        }
        let fuzz = root.join("fuzz");
        let built = self.build(&fuzz)?;
        let wanted = |target: &&str| self.targets.is_empty() || self.targets.iter().any(|name| name == target);
        for target in TARGETS.into_iter().filter(wanted) {
            eprintln!("{target}");
            let [corpus, artifacts] = ["corpus", "artifacts"].map(|kind| fuzz.join(kind).join(target));
            for directory in [&corpus, &artifacts] {
                std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            }
            let status = Command::new(built.join(target))
                .arg(format!("-max_total_time={}", self.seconds))
                .arg(format!("-max_len={MAX_INPUT}"))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .args(["-print_final_stats=1", "-verbosity=0"])
                .arg(&corpus)
                .arg(fuzz.join("seeds").join(target))
                .status()
                .with_context(|| format!("cannot run the fuzz target {target}"))?;
            match status.code() {
                Some(0) => {}
                Some(FOUND) => bail!(
                    "the fuzz target {target} found something; the input is in {}",
                    artifacts.display()
                ),
                _ => bail!("the fuzz target {target} did not run to its end: {status}"),
            }
        }
        Ok(format!("No target found anything in {} s.", self.seconds))
    }

    /// Builds all targets and answers where they are.
    fn build(&self, fuzz: &Path) -> Result<std::path::PathBuf> {
        let host = shell::host_triple()?;
        // Apart from other builds, which know nothing of these flags.
        let target_dir = shell::target_dir()?.join("fuzz");
        let status = Command::new(shell::cargo_program())
            .args(["build", "--locked", "--bins", "--target", &host])
            .arg("--manifest-path")
            .arg(fuzz.join("Cargo.toml"))
            .env("RUSTFLAGS", COVERAGE)
            .env("CARGO_TARGET_DIR", &target_dir)
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "the fuzz targets do not build: {status}");
        Ok(target_dir.join(host).join("debug"))
    }
}
