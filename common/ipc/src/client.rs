//! The caller's side: one connection per server, made when it is needed and made again when it broke.
//!
//! A [`Reconnecting`] is cheap to clone; all clones share the connection. It never repeats a call: a failed call says
//! whether it may have had an effect, and the caller decides. The generation tells callers that a new connection
//! stands, so that they can state again what the server may have forgotten.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tarpc::client::RpcError;
use tarpc::context::Context;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::bounds::{RECONNECT_FIRST, RECONNECT_MAX};
use crate::codec::from_server_error;
use crate::connect::{self, ConnectError};
use crate::contract_table::Contract;
use crate::deadline;
use crate::error::{ErrorCode, Retry, WireError};
use crate::identity::Identity;
use crate::preamble::Refused;
use crate::transport::TransportError;

/// A client of contract `C` that connects by itself.
pub struct Reconnecting<C> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    path: PathBuf,
    identity: Identity,
    slot: Mutex<Slot<C>>,
    generation: watch::Sender<u64>,
    /// The last connection on which a call was answered.
    answered: AtomicU64,
    /// The last connection on which the server said that it stops.
    draining: AtomicU64,
    refused: watch::Sender<Option<Refused>>,
}

/// The connection, or when to try for the next one.
struct Slot<C> {
    live: Option<Live<C>>,
    /// Attempts that failed and connections that failed, in a row.
    failures: u32,
    not_before: Instant,
}

struct Live<C> {
    client: C,
    dispatch: JoinHandle<()>,
    since: Instant,
}

impl<C> Clone for Reconnecting<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C: Contract> Reconnecting<C> {
    /// A client of the server on `path`. Nothing is connected before the first call.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, identity: Identity) -> Self {
        let slot = Slot {
            live: None,
            failures: 0,
            not_before: Instant::now(),
        };
        Self {
            shared: Arc::new(Shared {
                path: path.into(),
                identity,
                slot: Mutex::new(slot),
                generation: watch::Sender::new(0),
                answered: AtomicU64::new(0),
                draining: AtomicU64::new(0),
                refused: watch::Sender::new(None),
            }),
        }
    }

    /// One call: `call(deadline, async |client, context| client.method(context, argument).await)`. The deadline is
    /// clamped to [`crate::bounds::MAX_DEADLINE`] and covers connecting, with at most one attempt to connect.
    ///
    /// # Errors
    /// What the method answers, and: `Transport` with Backoff when nothing was sent, `Transport` or `Deadline` with
    /// Ambiguous when the request may have been sent, `TooLarge` with Never when the request does not fit, `Denied`
    /// with Backoff when the server refuses this build or user (see [`Self::refused`]).
    pub async fn call<T, F, Fut>(&self, deadline: Duration, call: F) -> Result<T, WireError>
    where
        F: FnOnce(C, Context) -> Fut,
        Fut: Future<Output = Result<Result<T, WireError>, RpcError>>,
    {
        self.call_on(deadline, call).await.1
    }

    /// The same, and the generation of the connection that it was made on; none if there was no connection.
    pub async fn call_on<T, F, Fut>(&self, deadline: Duration, call: F) -> (Option<u64>, Result<T, WireError>)
    where
        F: FnOnce(C, Context) -> Fut,
        Fut: Future<Output = Result<Result<T, WireError>, RpcError>>,
    {
        let until = Instant::now() + deadline::clamp(deadline);
        let (client, generation) = match self.client(until).await {
            Ok(connected) => connected,
            Err(error) => return (None, Err(error)),
        };
        let left = until.saturating_duration_since(Instant::now());
        let answer = match call(client, deadline::context(left)).await {
            Ok(answer) => {
                self.shared.answered.fetch_max(generation, Ordering::Relaxed);
                if answer.as_ref().is_err_and(|error| error.code == ErrorCode::Draining) {
                    self.shared.draining.fetch_max(generation, Ordering::Relaxed);
                }
                answer
            }
            Err(error) => Err(self.failed(error, generation)),
        };
        (Some(generation), answer)
    }

    /// Waits until a connection stands, as a call would, and returns its generation.
    ///
    /// # Errors
    /// As [`Self::call`] before anything is sent.
    pub async fn connect(&self, deadline: Duration) -> Result<u64, WireError> {
        let (_, generation) = self.client(Instant::now() + deadline::clamp(deadline)).await?;
        Ok(generation)
    }

    /// Counts the connections made so far; 0 before the first. A change means that the server may be another process.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    /// The last refusal since the last connection. One that [`crate::Refusal::is_skew`] cannot be cured by waiting:
    /// the process exits with code 78.
    #[must_use]
    pub fn refused(&self) -> watch::Receiver<Option<Refused>> {
        self.shared.refused.subscribe()
    }

    /// Path of the server's socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The client of the connection that stands, or of a new one, and its generation.
    async fn client(&self, until: Instant) -> Result<(C, u64), WireError> {
        let shared = &*self.shared;
        let late = |_| unsent::<C>(&shared.path, "no connection before the deadline of the call");
        // Callers that come while a connection is made wait here; one attempt serves them all.
        let mut slot = timeout_at(until, shared.slot.lock()).await.map_err(late)?;
        let generation = *shared.generation.borrow();
        if let Some(live) = &slot.live {
            if !live.dispatch.is_finished() {
                return Ok((live.client.clone(), generation));
            }
            let answered = shared.answered.load(Ordering::Relaxed) == generation;
            slot.failures = failures_after(slot.failures, answered, live.since.elapsed());
            slot.live = None;
            slot.not_before = Instant::now() + backoff(slot.failures);
        }
        timeout_at(until, sleep_until(slot.not_before)).await.map_err(late)?;
        match connect::connect_until::<C>(&shared.path, shared.identity, until).await {
            Ok((client, dispatch)) => {
                slot.live = Some(Live {
                    client: client.clone(),
                    dispatch,
                    since: Instant::now(),
                });
                shared.refused.send_replace(None);
                // Only whoever holds the slot counts.
                shared.generation.send_replace(generation + 1);
                Ok((client, generation + 1))
            }
            Err(error) => {
                slot.failures = slot.failures.saturating_add(1);
                slot.not_before = Instant::now() + backoff(slot.failures);
                if let ConnectError::Refused(refused) = &error {
                    shared.refused.send_replace(Some(*refused));
                }
                Err(error.into())
            }
        }
    }

    /// The error of a call that was made on a connection. One that breaks while its server stops, breaks for that.
    fn failed(&self, error: RpcError, generation: u64) -> WireError {
        let error = self.described(error);
        let stops = self.shared.draining.load(Ordering::Relaxed) == generation;
        match (error.retry, error.code) {
            (Retry::Ambiguous, ErrorCode::Transport) if stops => {
                WireError::ambiguous(ErrorCode::Draining, format!("{}; it was about to stop", error.detail))
            }
            _ => error,
        }
    }

    fn described(&self, error: RpcError) -> WireError {
        let server = format!("{} at {}", C::NAME, self.shared.path.display());
        match error {
            RpcError::Server(error) => from_server_error(&error),
            RpcError::DeadlineExceeded => WireError::ambiguous(
                ErrorCode::Deadline,
                format!("{server} did not answer within the deadline of the call"),
            ),
            RpcError::Send(cause) => match cause.downcast_ref::<TransportError>() {
                Some(TransportError::TooLarge { .. }) => WireError::never(
                    ErrorCode::TooLarge,
                    format!("the request to {server} was not sent: {cause}"),
                ),
                Some(TransportError::Encode(_)) => WireError::never(
                    ErrorCode::Internal,
                    format!("the request to {server} was not sent: {cause}"),
                ),
                _ => WireError::ambiguous(
                    ErrorCode::Transport,
                    format!("sending the request to {server} failed: {cause}"),
                ),
            },
            RpcError::Channel(cause) => {
                let cause = std::error::Error::source(&cause).map_or_else(|| cause.to_string(), ToString::to_string);
                WireError::ambiguous(
                    ErrorCode::Transport,
                    format!("the connection to {server} broke during the call: {cause}"),
                )
            }
            RpcError::Shutdown => WireError::ambiguous(
                ErrorCode::Transport,
                format!("{server} closed the connection during the call"),
            ),
        }
    }
}

fn unsent<C: Contract>(path: &Path, cause: impl std::fmt::Display) -> WireError {
    WireError::backoff(
        ErrorCode::Transport,
        format!("cannot reach {} at {}: {cause}", C::NAME, path.display()),
    )
}

/// The failures in a row when a connection of this age ends. It failed if it broke young and no call was ever answered on it.
/// One that was of use led to a server that works: its end is a restart, and whoever restarts the server keeps it from dying too often.
fn failures_after(failures: u32, answered: bool, age: Duration) -> u32 {
    if answered || age >= RECONNECT_MAX {
        0
    } else {
        failures.saturating_add(1)
    }
}

/// The delay after `failures` failures in a row: doubling, capped, and between a half and all of it at random.
fn backoff(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let full = RECONNECT_FIRST
        .saturating_mul(1 << doublings.min(16))
        .min(RECONNECT_MAX);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_that_was_of_no_use_and_broke_young_delays_the_next() {
        let mut failures = 0;
        for _ in 0..3 {
            failures = failures_after(failures, false, Duration::from_millis(5));
        }
        assert_eq!(failures, 3);
        assert_eq!(failures_after(failures, true, Duration::from_millis(5)), 0);
        assert_eq!(failures_after(failures, false, RECONNECT_MAX), 0);
        assert_eq!(backoff(0), Duration::ZERO);
    }

    #[test]
    fn the_backoff_grows_to_its_cap_and_stays_jittered() {
        for failures in 1..64 {
            let full = RECONNECT_FIRST
                .saturating_mul(1 << (failures - 1).min(16))
                .min(RECONNECT_MAX);
            let delay = backoff(failures);
            assert!(delay >= full / 2 && delay <= full, "{failures}: {delay:?}");
        }
    }
}
