//! Looking up names for guests.
//!
//! The system's resolver takes a thread for as long as a name server is silent, and cannot be called off. So it has threads of
//! its own, and each service a few of them at a time: names that nobody answers for delay the service that asked for them.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use wavs_types::ServiceId;

use crate::runtime::stand_back;

/// Threads that look up names; further look-ups wait.
const THREADS: usize = 64;
/// Look-ups of one service at a time; further ones wait, within the time of their request and of their run.
const PER_SERVICE: usize = 4;
/// Most addresses of one name; further ones are ignored.
const MAX_ADDRESSES: usize = 16;
/// Bytes of the longest name (RFC 1035, section 2.3.4, as text).
const MAX_NAME: usize = 253;

/// The threads, and the turns of the services that have look-ups at the moment.
#[derive(Debug)]
pub(crate) struct Resolver {
    // Absent while this is dropped.
    threads: Option<Runtime>,
    services: Mutex<HashMap<ServiceId, Weak<Semaphore>>>,
}

/// The resolver for one service. Clones share its turns.
#[derive(Debug, Clone)]
pub(crate) struct ServiceResolver {
    resolver: Arc<Resolver>,
    turns: Arc<Semaphore>,
}

impl Resolver {
    /// Prepares the threads, which are started when they are needed.
    ///
    /// # Errors
    /// When the system refuses what a runtime needs.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let threads = Builder::new_current_thread()
            .max_blocking_threads(THREADS)
            .thread_name("names")
            .on_thread_start(stand_back)
            .build()?;
        Ok(Arc::new(Self {
            threads: Some(threads),
            services: Mutex::default(),
        }))
    }

    /// The resolver for a service.
    pub(crate) fn service(self: &Arc<Self>, service: ServiceId) -> ServiceResolver {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = match services.get(&service).and_then(Weak::upgrade) {
            Some(turns) => turns,
            None => {
                services.retain(|_, turns| turns.strong_count() > 0);
                let turns = Arc::new(Semaphore::new(PER_SERVICE));
                services.insert(service, Arc::downgrade(&turns));
                turns
            }
        };
        ServiceResolver {
            resolver: self.clone(),
            turns,
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl ServiceResolver {
    /// The addresses of a name.
    ///
    /// # Errors
    /// What the resolver of the system says.
    pub(crate) async fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let Some(threads) = self.resolver.threads.as_ref().filter(|_| name.len() <= MAX_NAME) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is too long"));
        };
        let turn = self.turns.clone().acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let looked_up = threads.spawn_blocking(move || {
            // Kept until the resolver answers, even when nobody waits for it any more.
            let _turn = turn;
            let addresses = (name.as_str(), port).to_socket_addrs()?;
            Ok(addresses.take(MAX_ADDRESSES).collect())
        });
        looked_up.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn services_have_turns_of_their_own_and_no_long_names() {
        let resolver = Resolver::start().unwrap();
        let busy = resolver.service(ServiceId::new([1; 32]));
        let held = busy.turns.clone().try_acquire_many_owned(4).unwrap();
        // The same service waits, whichever run asks; another one does not.
        let again = resolver.service(ServiceId::new([1; 32]));
        assert!(again.look_up("localhost", 80).now_or_never().is_none());
        let other = resolver.service(ServiceId::new([2; 32]));
        assert!(
            other
                .look_up("localhost", 80)
                .await
                .unwrap()
                .iter()
                .all(|found| found.ip().is_loopback())
        );
        assert!(other.look_up(&"x".repeat(254), 80).await.is_err());
        drop((held, busy, again, other));
        // Who looks nothing up is forgotten.
        let _third = resolver.service(ServiceId::new([3; 32]));
        assert_eq!(resolver.services.lock().unwrap().len(), 1);
    }
}
