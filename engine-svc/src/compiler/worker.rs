//! The compile worker: one component in, its code out, and the end of the process.
//!
//! It is the only place where the compiler meets bytes from strangers. Before it reads them it limits its memory, its time
//! and its rights: it needs nothing but its two pipes. Whatever happens to it, the host reports it as the fate of this one
//! component.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::resource::Resource;
use wavs_service::sandbox::Profile;

use crate::helper::{Confinement, cut};
use crate::runtime::{Variant, compiler_engine};

/// Longest compilation by the clock; then the kernel ends the worker. The largest components take some ten seconds.
pub(super) const TIME: Duration = Duration::from_secs(300);
/// Processor seconds of one compilation over all threads; then the kernel ends the worker.
pub(super) const CPU_SECONDS: u64 = 1_200;
/// Address space of one worker. The compiler fails to allocate beyond it and aborts.
const ADDRESS_SPACE: u64 = 6 << 30;
/// Open files of one worker: its pipes, and what its threads need to start.
const OPEN_FILES: u64 = 32;

/// What the first byte of the output says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// Code follows.
    Code = 1,
    /// The reason follows why the component does not compile.
    Reason = 2,
}

/// Compiles stdin to stdout.
pub(crate) fn run(variant: &str) -> ExitCode {
    let Some(variant) = Variant::parse(variant) else {
        return ExitCode::FAILURE;
    };
    match confine().and_then(|()| work(variant)) {
        Ok(()) => ExitCode::SUCCESS,
        // The host sees the code; nobody reads what a worker prints.
        Err(_) => ExitCode::FAILURE,
    }
}

fn confine() -> io::Result<()> {
    let confinement = Confinement {
        time: TIME,
        limits: &[
            (Resource::RLIMIT_AS, ADDRESS_SPACE),
            (Resource::RLIMIT_CPU, CPU_SECONDS),
            (Resource::RLIMIT_NOFILE, OPEN_FILES),
        ],
        profile: Profile::nothing(),
    };
    confinement.enter()
}

fn work(variant: Variant) -> io::Result<()> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    std::panic::set_hook(Box::new(|_| {}));
    let compiled = catch_unwind(AssertUnwindSafe(|| {
        compiler_engine(variant).and_then(|engine| engine.precompile_component(&bytes))
    }));
    let (tag, content) = match compiled {
        Ok(Ok(code)) => (Tag::Code, code),
        Ok(Err(cause)) => (Tag::Reason, cut(&format!("{cause:#}")).into_bytes()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            let reason = format!("the compiler panicked: {text}");
            (Tag::Reason, cut(&reason).into_bytes())
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(&[tag as u8])?;
    out.write_all(&content)?;
    out.flush()
}
