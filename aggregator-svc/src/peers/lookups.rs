//! Keys that spoke on a topic and are not known yet: they wait here until the chain is asked about them.
//!
//! Anybody can make up keys, so the chain is asked about few of them in a second, taking turns over the services, and what
//! does not fit is dropped: p2p-svc keeps the record for a while and tells of the key again after its next `sync`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wavs_types::{EvmAddress, ServiceId};

use super::operators;
use crate::pipeline::core::Core;

/// Keys of one service that wait. A further one is dropped and told again later.
const MAX_WAITING: usize = 20;
/// Services with waiting keys; a key of a further one is dropped and told again later.
const MAX_SERVICES: usize = 1_024;
/// Keys that are looked up in one round.
const ROUND: usize = 5;
/// Rest after a lookup, for each key in it: so many a second go to the chain and not more.
const REST_PER_KEY: Duration = Duration::from_millis(200);
/// Rest after a chain did not answer.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// The keys that wait.
#[derive(Debug, Default)]
pub struct Lookups {
    waiting: Mutex<VecDeque<Turn>>,
    more: Notify,
}

/// A service and its keys; the next one to take is in front.
#[derive(Debug)]
struct Turn {
    service: ServiceId,
    keys: VecDeque<EvmAddress>,
}

impl Lookups {
    /// Has a key looked up soon. One that waits already, or finds no room, changes nothing.
    pub fn ask(&self, service: ServiceId, signer: EvmAddress) {
        let mut waiting = self.lock();
        let at = match waiting.iter().position(|turn| turn.service == service) {
            Some(at) => at,
            None if waiting.len() >= MAX_SERVICES => return,
            None => {
                let keys = VecDeque::new();
                waiting.push_back(Turn { service, keys });
                waiting.len() - 1
            }
        };
        let keys = &mut waiting[at].keys;
        if keys.len() < MAX_WAITING && !keys.contains(&signer) {
            keys.push_back(signer);
            self.more.notify_one();
        }
    }

    /// The next keys, at most [`ROUND`]: the oldest of each service in turn.
    fn take(&self) -> BTreeMap<ServiceId, BTreeSet<EvmAddress>> {
        let mut waiting = self.lock();
        let mut taken: BTreeMap<ServiceId, BTreeSet<EvmAddress>> = BTreeMap::new();
        for _ in 0..ROUND {
            let Some(mut turn) = waiting.pop_front() else { break };
            if let Some(signer) = turn.keys.pop_front() {
                taken.entry(turn.service).or_default().insert(signer);
            }
            if !turn.keys.is_empty() {
                waiting.push_back(turn);
            }
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Turn>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks keys up until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let _: Option<()> = stop.run_until_cancelled(look_up_all(&core)).await;
}

async fn look_up_all(core: &Core) {
    let lookups = &core.peers.lookups;
    loop {
        let taken = lookups.take();
        if taken.is_empty() {
            lookups.more.notified().await;
            continue;
        }
        let mut rest = Duration::ZERO;
        for (service, signers) in taken {
            rest += REST_PER_KEY.saturating_mul(u32::try_from(signers.len()).unwrap_or(u32::MAX));
            match operators::look_up(core, service, &signers).await {
                Ok(true) => {}
                Ok(false) => {
                    rest = REST_AFTER_FAILURE;
                    signers.into_iter().for_each(|signer| lookups.ask(service, signer));
                }
                Err(cause) => {
                    tracing::warn!(%cause, "the operators of a service could not be stored; they are looked up again");
                    rest = REST_AFTER_FAILURE;
                }
            }
        }
        tokio::time::sleep(rest).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> EvmAddress {
        EvmAddress::repeat_byte(number)
    }

    #[test]
    fn services_take_turns_and_each_has_its_own_room() {
        let lookups = Lookups::default();
        let (noisy, quiet) = (ServiceId::new([1; 32]), ServiceId::new([2; 32]));
        for number in 0..=u8::MAX {
            lookups.ask(noisy, key(number));
        }
        lookups.ask(quiet, key(7));
        lookups.ask(quiet, key(7));
        let first = lookups.take();
        assert_eq!(first[&noisy].len(), ROUND - 1);
        assert_eq!(first[&quiet], [key(7)].into());
        let mut left = 0;
        loop {
            let taken = lookups.take();
            if taken.is_empty() {
                break;
            }
            left += taken[&noisy].len();
        }
        assert_eq!(left, MAX_WAITING - (ROUND - 1));
    }
}
