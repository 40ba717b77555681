//! The compiler as the rest of engine-svc sees it: ask for code by digest, wait, and load it.
//!
//! However many wait for one component, the host is asked once, and what it made stays in the cache although all of them
//! have given up.

use std::collections::HashMap;
use std::io::BufReader;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use wavs_types::ComponentDigest;

use super::cache::CodeCache;
use super::process::CompileHost;
use super::protocol::{self, Answer, Outcome, Request};
use crate::components::ComponentError;
use crate::runtime::Variant;

/// Callers that ask the host at a time; further ones wait. The pipe to the host holds more requests than this, so that
/// writing one never waits.
const ASKING: usize = 256;

/// The connection to the compile host.
pub(crate) struct Compiler {
    cache: CodeCache,
    asking: Semaphore,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Cancelled when the host is gone, which ends this process too: it cannot start another one.
    gone: CancellationToken,
}

struct State {
    /// Absent when the host is gone.
    requests: Option<ChildStdin>,
    next: u64,
    /// What is being compiled. Bounded by [`ASKING`], and by the handlers of the sockets for those whose callers gave up.
    jobs: HashMap<(ComponentDigest, Variant), Job>,
}

struct Job {
    id: u64,
    outcome: watch::Receiver<Option<Outcome>>,
    sender: watch::Sender<Option<Outcome>>,
}

impl Compiler {
    /// Takes over the host.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(host: CompileHost) -> std::io::Result<Self> {
        let CompileHost {
            child,
            requests,
            answers,
            cache,
        } = host;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                requests: Some(requests),
                next: 0,
                jobs: HashMap::new(),
            }),
            gone: CancellationToken::new(),
        });
        let reader = shared.clone();
        thread::Builder::new()
            .name("compiler".into())
            .spawn(move || reader.listen(child, answers))?;
        Ok(Self {
            cache,
            asking: Semaphore::new(ASKING),
            shared,
        })
    }

    /// The cache that the host writes.
    pub(crate) fn cache(&self) -> &CodeCache {
        &self.cache
    }

    /// Cancelled when the host is gone. Nothing compiles any more; what is in the cache still runs.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.shared.gone.clone()
    }

    /// Has the code of a component that is in the store put into the cache; over what is there, if `replace`.
    ///
    /// # Errors
    /// [`ComponentError::Compile`] when the component is at fault, [`ComponentError::Compiler`] when this machine is.
    pub(crate) async fn compile(
        &self,
        digest: ComponentDigest,
        variant: Variant,
        replace: bool,
    ) -> Result<(), ComponentError> {
        let failed = |cause: &str| ComponentError::Compiler {
            digest,
            cause: cause.to_owned(),
        };
        let _asking = self.asking.acquire().await;
        let mut outcome = self
            .shared
            .ask(digest, variant, replace)
            .map_err(|cause| failed(&cause))?;
        let found = outcome
            .wait_for(Option::is_some)
            .await
            .map(|outcome| outcome.clone())
            .map_err(|_| failed("the compile host ended; engine-svc restarts"))?;
        match found {
            Some(Outcome::Rejected(cause)) => Err(ComponentError::Compile { digest, cause }),
            Some(Outcome::Failed(cause)) => Err(failed(&cause)),
            Some(Outcome::Stored) | None => Ok(()),
        }
    }
}

impl Shared {
    fn ask(
        &self,
        digest: ComponentDigest,
        variant: Variant,
        replace: bool,
    ) -> Result<watch::Receiver<Option<Outcome>>, String> {
        let mut state = self.lock();
        if let Some(job) = state.jobs.get(&(digest, variant)) {
            return Ok(job.outcome.clone());
        }
        let id = state.next;
        state.next += 1;
        let requests = state
            .requests
            .as_mut()
            .ok_or("the compile host ended; engine-svc restarts")?;
        let request = Request {
            id,
            digest,
            variant,
            replace,
        };
        protocol::write(requests, &request).map_err(|cause| format!("the compile host takes no request: {cause}"))?;
        let (sender, outcome) = watch::channel(None);
        let job = Job {
            id,
            outcome: outcome.clone(),
            sender,
        };
        state.jobs.insert((digest, variant), job);
        Ok(outcome)
    }

    /// Hands answers to those who wait, until the host ends.
    fn listen(&self, mut child: Child, answers: ChildStdout) {
        let mut answers = BufReader::new(answers);
        loop {
            match protocol::read::<Answer>(&mut answers) {
                Ok(Some(answer)) => self.settle(answer),
                Ok(None) => break,
                Err(cause) => {
                    tracing::error!(%cause, "the compile host sends nonsense");
                    break;
                }
            }
        }
        {
            let mut state = self.lock();
            state.requests = None;
            // Those who wait see that their sender is gone.
            state.jobs.clear();
        }
        self.gone.cancel();
        // Without its input it ends by itself; this only takes note of it.
        let _ = child.wait();
    }

    fn settle(&self, answer: Answer) {
        let mut state = self.lock();
        let key = state
            .jobs
            .iter()
            .find(|(_, job)| job.id == answer.id)
            .map(|(key, _)| *key);
        if let Some(job) = key.and_then(|key| state.jobs.remove(&key)) {
            job.sender.send_replace(Some(answer.outcome));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // The end of its input is the end of the host.
        self.shared.lock().requests = None;
    }
}
