//! Named points at which a test kills its process, to show what survives.
//!
//! Outside the tests of this crate and the feature `fault-injection` a point is an empty inline function. With it, a process
//! whose environment has `WAVS_FAULT=<name>` or `WAVS_FAULT=<name>:<n>` kills itself with SIGKILL the n-th time (from 1)
//! that it passes the point. [`Crash`] runs such a process: it executes the current test binary again.

/// A place between two statements where a crash is worth a test.
#[cfg(not(any(test, feature = "fault-injection")))]
#[inline(always)]
pub fn point(_name: &'static str) {}

#[cfg(any(test, feature = "fault-injection"))]
pub use injected::{Crash, acknowledge, directory, point, survey};

#[cfg(any(test, feature = "fault-injection"))]
mod injected {
    use std::collections::BTreeMap;
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, ExitStatus, Stdio};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    const FAULT: &str = "WAVS_FAULT";
    const DIRECTORY: &str = "WAVS_FAULT_DIRECTORY";
    const SURVEY: &str = "WAVS_FAULT_SURVEY";
    const ACKNOWLEDGED: &str = "acknowledged ";
    const PASSED_POINT: &str = "passed ";

    /// A place between two statements where a crash is worth a test.
    pub fn point(name: &'static str) {
        static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
        static PASSED: AtomicU64 = AtomicU64::new(0);
        let plan = PLAN.get_or_init(|| {
            let plan = std::env::var(FAULT).ok()?;
            let (name, nth) = plan.split_once(':').unwrap_or((&plan, "1"));
            Some((name.to_owned(), nth.parse().unwrap_or(1)))
        });
        if std::env::var_os(SURVEY).is_some() {
            tell(PASSED_POINT, name);
        }
        let Some((planned, nth)) = plan else { return };
        if planned == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *nth {
            // A process may always signal itself; should it fail nevertheless, the test notices that nobody died.
            let _ = kill(Pid::this(), Signal::SIGKILL);
        }
    }

    /// The directory that the parent gave to this process; `None` in an ordinary test run, when the victim part is to be skipped.
    #[must_use]
    pub fn directory() -> Option<PathBuf> {
        std::env::var_os(DIRECTORY).map(PathBuf::from)
    }

    /// Tells the parent that something was acknowledged to a caller.
    pub fn acknowledge(what: impl std::fmt::Display) {
        tell(ACKNOWLEDGED, what);
    }

    fn tell(prefix: &str, what: impl std::fmt::Display) {
        // The test harness captures `println!` but not writes to the descriptor itself.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "\n{prefix}{what}").and_then(|()| out.flush());
    }

    /// Runs `victim` to its end, unharmed, and answers how often it passed each point.
    ///
    /// # Panics
    /// When the process cannot be run, or fails.
    #[must_use]
    pub fn survey(victim: &str, directory: &Path) -> BTreeMap<String, u64> {
        let (text, status) = execute(victim, SURVEY, "1", directory);
        assert!(status.success(), "the victim {victim} fails without any fault:\n{text}");
        let mut passed = BTreeMap::new();
        for point in text.lines().filter_map(|line| line.strip_prefix(PASSED_POINT)) {
            *passed.entry(point.to_owned()).or_default() += 1;
        }
        passed
    }

    fn execute(victim: &str, name: &str, value: &str, directory: &Path) -> (String, ExitStatus) {
        let output = std::env::current_exe()
            .and_then(|program| {
                Command::new(program)
                    .args(["--exact", victim, "--nocapture", "--test-threads=1"])
                    .env(name, value)
                    .env(DIRECTORY, directory)
                    .stdin(Stdio::null())
                    .output()
            })
            .unwrap_or_else(|cause| panic!("cannot run the victim {victim}: {cause}"));
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status)
    }

    /// What a victim did before it ended.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Crash {
        /// What it acknowledged, in order.
        pub acknowledged: Vec<String>,
        /// Whether SIGKILL ended it; otherwise it ran to its end.
        pub killed: bool,
    }

    impl Crash {
        /// Runs the test `victim` (full name) of the current test binary in a new process that is killed the `nth` time it passes
        /// `point`, with `directory` for its files.
        ///
        /// # Panics
        /// When the process cannot be run.
        #[must_use]
        pub fn run(victim: &str, point: &str, nth: u64, directory: &Path) -> Self {
            use std::os::unix::process::ExitStatusExt as _;
            let (text, status) = execute(victim, FAULT, &format!("{point}:{nth}"), directory);
            let acknowledged = text
                .lines()
                .filter_map(|line| line.strip_prefix(ACKNOWLEDGED))
                .map(str::to_owned)
                .collect();
            Self {
                acknowledged,
                killed: status.signal() == Some(Signal::SIGKILL as i32),
            }
        }
    }
}
