//! The compile host: takes requests, runs workers, writes the cache.
//!
//! It sees no guest and parses no component; what it is asked comes from engine-svc as digests. It ends when engine-svc
//! does, and its workers with it.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::signal::Signal;
use wavs_service::sandbox::{Profile, Strictness, lock_down};
use wavs_types::ComponentDigest;

use super::WORKER;
use super::cache::CodeCache;
use super::compat::fingerprint;
use super::protocol::{Outcome, Request};
use super::worker::{CPU_SECONDS, TIME, Tag};
use crate::components::{ContentStore, Stored};
use crate::helper::{self, Numbered, cut};
use crate::runtime::{Variant, compiler_engine};
use crate::settings::OWN_PROGRAM;

/// Compilations at a time. A worker uses all cores as long as it has enough to do; the second one keeps a small component
/// from waiting for a large one.
const WORKERS: usize = 2;
/// Requests that wait; then the host reads no more, and engine-svc waits.
const WAITING: usize = 64;
/// Bytes of the code of one component: machine code is four to five times the size of WASM. More is an error.
const MAX_CODE: u64 = 1 << 30;

/// What the workers share.
struct Host {
    store: ContentStore,
    cache: CodeCache,
    /// The fingerprints of the engines, in the order of [`Variant::ALL`].
    compats: [String; Variant::ALL.len()],
}

/// Serves stdin until it ends.
pub(crate) fn run(store: &Path, cache: &Path) -> ExitCode {
    match serve(store, cache) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("error: the compile host ended: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn serve(store: &Path, cache: &Path) -> io::Result<()> {
    helper::outlive_stops()?;
    let compat = |variant| {
        let engine = compiler_engine(variant).map_err(|cause| io::Error::other(format!("{cause:#}")))?;
        io::Result::Ok(fingerprint(&engine))
    };
    let [epoch, metered, deterministic] = Variant::ALL.map(compat);
    let host = Host {
        store: ContentStore::at(store.to_owned()),
        cache: CodeCache::open(cache.to_owned())?,
        compats: [epoch?, metered?, deterministic?],
    };
    let profile = Profile::nothing()
        .reads(store)
        .writes(cache)
        .writes(Path::new("/dev/null"))
        .runs(&std::env::current_exe()?);
    // The kernel was found to be good enough, or accepted as it is, by engine-svc.
    lock_down(&profile, Strictness::Available, "engine").map_err(io::Error::other)?;
    let host = Arc::new(host);
    host.cache.collect(&host.compats)?;
    let (sender, receiver) = sync_channel(WAITING);
    let receiver = Arc::new(Mutex::new(receiver));
    for number in 0..WORKERS {
        let (host, requests) = (host.clone(), receiver.clone());
        thread::Builder::new()
            .name(format!("compile-{number}"))
            .spawn(move || answer(&host, &requests))?;
    }
    let mut requests = BufReader::new(io::stdin().lock());
    while let Some(request) = helper::read::<Numbered<Request>>(&mut requests)? {
        if sender.send(request).is_err() {
            return Err(io::Error::other("its threads ended"));
        }
    }
    // Threads that still compile end with the process, and the kernel ends their workers.
    Ok(())
}

fn answer(host: &Host, requests: &Mutex<Receiver<Numbered<Request>>>) {
    loop {
        // Held while waiting, so that one thread waits here and the others wait for it.
        let next = requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Numbered { id, body }) = next else { return };
        let body = host.compile(&body);
        let answer = Numbered { id, body };
        if helper::write(&mut io::stdout().lock(), &answer).is_err() {
            return;
        }
    }
}

impl Host {
    fn compile(&self, request: &Request) -> Outcome {
        let Request {
            digest,
            variant,
            replace,
        } = request;
        let compat = &self.compats[variant.index()];
        let known = || self.cache.contains(digest, *variant, compat).unwrap_or(false);
        if !replace && known() {
            return Outcome::Stored;
        }
        let code = match self.store.read(digest) {
            Ok(Stored::Intact(bytes)) => translate(&bytes, *variant),
            Ok(Stored::Damaged | Stored::Absent) => Err(Outcome::Failed("it is not in the component store".to_owned())),
            Err(cause) => Err(Outcome::Failed(cause.to_string())),
        };
        match code {
            Ok(code) => self.keep(digest, *variant, compat, &code),
            Err(outcome) => outcome,
        }
    }

    fn keep(&self, digest: &ComponentDigest, variant: Variant, compat: &str, code: &[u8]) -> Outcome {
        match self.cache.insert(digest, variant, compat, code) {
            Ok(()) => Outcome::Stored,
            Err(cause) => Outcome::Failed(format!("its code cannot be stored: {cause}; check engine.cache_dir")),
        }
    }
}

/// Runs one worker.
fn translate(bytes: &[u8], variant: Variant) -> Result<Vec<u8>, Outcome> {
    let failed = |what: &str, cause: io::Error| Outcome::Failed(format!("{what}: {cause}"));
    let mut worker = Command::new(OWN_PROGRAM)
        .args([WORKER, variant.as_str()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|cause| failed("no compile worker can be started", cause))?;
    let (input, output) = (worker.stdin.take(), worker.stdout.take());
    if let Some(mut input) = input {
        // A worker that ended early does not take everything; its end tells why.
        let _ = input.write_all(bytes);
    }
    let mut answer = Vec::new();
    let read = output.map(|output| output.take(MAX_CODE + 1).read_to_end(&mut answer));
    let status = worker
        .wait()
        .map_err(|cause| failed("the compile worker is lost", cause))?;
    if let Some(Err(cause)) = read {
        return Err(failed("the compile worker cannot be read", cause));
    }
    judge(status, answer)
}

fn judge(status: ExitStatus, mut answer: Vec<u8>) -> Result<Vec<u8>, Outcome> {
    if answer.len() as u64 > MAX_CODE {
        // The rest was not read, so the worker could not end well.
        return Err(Outcome::Rejected(format!(
            "its code is larger than {MAX_CODE} bytes; make it smaller"
        )));
    }
    if let Some(signal) = status.signal() {
        return Err(killed(signal));
    }
    match answer.first() {
        Some(tag) if status.success() && *tag == Tag::Code as u8 => {
            answer.remove(0);
            Ok(answer)
        }
        Some(tag) if status.success() && *tag == Tag::Reason as u8 => {
            Err(Outcome::Rejected(cut(&String::from_utf8_lossy(&answer[1..]))))
        }
        _ => Err(Outcome::Failed(format!("the compile worker ended with {status}"))),
    }
}

/// What it means that a signal ended a worker.
fn killed(signal: i32) -> Outcome {
    match Signal::try_from(signal) {
        Ok(Signal::SIGALRM) => Outcome::Rejected(format!(
            "it takes longer than {} s to compile; make it smaller",
            TIME.as_secs()
        )),
        Ok(Signal::SIGXCPU) => Outcome::Rejected(format!(
            "it takes more than {CPU_SECONDS} processor seconds to compile; make it smaller"
        )),
        // The system ran out of memory, or somebody stopped the node.
        Ok(Signal::SIGKILL | Signal::SIGTERM) => {
            Outcome::Failed("its compile worker was killed; check the memory of the machine".to_owned())
        }
        Ok(signal) => Outcome::Rejected(format!(
            "the compiler broke on it ({signal}), or needed more memory than it may use; make it smaller, or report it"
        )),
        Err(_) => Outcome::Rejected(format!("the compiler broke on it (signal {signal})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_component_caused_is_held_against_it() {
        let status = |raw: i32| ExitStatus::from_raw(raw);
        assert_eq!(judge(status(0), vec![1, 7, 8]), Ok(vec![7, 8]));
        let rejected = |outcome| matches!(outcome, Err(Outcome::Rejected(_)));
        let failed = |outcome| matches!(outcome, Err(Outcome::Failed(_)));
        assert!(rejected(judge(status(0), b"\x02not valid".to_vec())));
        for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGALRM, Signal::SIGXCPU] {
            assert!(rejected(judge(status(signal as i32), vec![1])), "{signal}");
        }
        // Only its first page is ever touched. The worker was refused the rest, and says so with its code.
        let mut huge = vec![0; usize::try_from(MAX_CODE).unwrap() + 1];
        huge[0] = Tag::Code as u8;
        assert!(rejected(judge(status(1 << 8), huge)));
        assert!(failed(judge(status(Signal::SIGKILL as i32), vec![1, 2])));
        assert!(failed(judge(status(1 << 8), vec![1, 2])));
        assert!(failed(judge(status(0), vec![])));
        assert!(failed(judge(status(0), vec![9])));
    }
}
