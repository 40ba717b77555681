//! A helper as the rest of engine-svc sees it: ask, and wait.
//!
//! However many wait for the answer to one request, the helper is asked once, and it finishes although all of them have
//! given up.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, BufReader};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::lines::{self, Numbered};
use super::pipes::Pipes;

/// Callers that ask one helper at a time; further ones wait. The pipe to it holds as many requests of the usual size, so
/// that writing one seldom waits.
const ASKING: usize = 256;

/// The connection to a helper that takes requests `Q` and gives answers `A`.
pub(crate) struct Helper<Q, A> {
    name: &'static str,
    asking: Semaphore,
    shared: Arc<Shared<Q, A>>,
}

struct Shared<Q, A> {
    state: Mutex<State<Q, A>>,
    /// Cancelled when the helper is gone, which ends this process too: it cannot start another one.
    gone: CancellationToken,
}

struct State<Q, A> {
    /// Absent when the helper is gone.
    requests: Option<ChildStdin>,
    next: u64,
    /// What is being done. Bounded by [`ASKING`], and by the handlers of the sockets for those whose callers gave up.
    jobs: HashMap<Q, Job<A>>,
}

struct Job<A> {
    id: u64,
    answer: watch::Sender<Option<A>>,
}

impl<Q, A> Helper<Q, A>
where
    Q: Hash + Eq + Clone + Serialize + Send + 'static,
    A: DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Takes over a helper, which people know by `name`.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(name: &'static str, pipes: Pipes) -> io::Result<Self> {
        let Pipes {
            child,
            requests,
            answers,
        } = pipes;
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
            .name(name.replace(' ', "-"))
            .spawn(move || reader.listen(name, child, answers))?;
        Ok(Self {
            name,
            asking: Semaphore::new(ASKING),
            shared,
        })
    }

    /// Cancelled when the helper is gone.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.shared.gone.clone()
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// When the helper does not take it or ends, in words.
    pub(crate) async fn ask(&self, request: Q) -> Result<A, String> {
        let ended = || format!("the {} ended; engine-svc restarts", self.name);
        let _asking = self.asking.acquire().await;
        let mut answer = match self.shared.send(request) {
            Ok(answer) => answer.ok_or_else(ended)?,
            Err(cause) => return Err(format!("the {} does not take the request: {cause}", self.name)),
        };
        let answered = answer.wait_for(Option::is_some).await;
        answered.ok().and_then(|answer| answer.clone()).ok_or_else(ended)
    }
}

impl<Q, A> Shared<Q, A>
where
    Q: Hash + Eq + Clone + Serialize,
    A: DeserializeOwned + Clone,
{
    /// Where the answer will be; nothing if the helper is gone.
    fn send(&self, request: Q) -> io::Result<Option<watch::Receiver<Option<A>>>> {
        let mut state = self.lock();
        if let Some(job) = state.jobs.get(&request) {
            return Ok(Some(job.answer.subscribe()));
        }
        let id = state.next;
        state.next += 1;
        let Some(requests) = state.requests.as_mut() else {
            return Ok(None);
        };
        let body = &request;
        lines::write(requests, &Numbered { id, body })?;
        let (answer, receiver) = watch::channel(None);
        state.jobs.insert(request, Job { id, answer });
        Ok(Some(receiver))
    }

    /// Hands answers to those who wait, until the helper ends.
    fn listen(&self, name: &str, mut child: Child, answers: ChildStdout) {
        let mut answers = BufReader::new(answers);
        loop {
            match lines::read::<Numbered<A>>(&mut answers) {
                Ok(Some(answer)) => self.settle(answer),
                Ok(None) => break,
                Err(cause) => {
                    tracing::error!(%cause, "the {name} sends nonsense");
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

    fn settle(&self, answer: Numbered<A>) {
        let mut state = self.lock();
        let request = state
            .jobs
            .iter()
            .find(|(_, job)| job.id == answer.id)
            .map(|(request, _)| request.clone());
        if let Some(job) = request.and_then(|request| state.jobs.remove(&request)) {
            job.answer.send_replace(Some(answer.body));
        }
    }
}

impl<Q, A> Shared<Q, A> {
    fn lock(&self) -> MutexGuard<'_, State<Q, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q, A> Drop for Helper<Q, A> {
    fn drop(&mut self) {
        // The end of its input is the end of the helper.
        self.shared.lock().requests = None;
    }
}
