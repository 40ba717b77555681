//! When to try whom: listed peers for ever, met ones for a while, each with a growing delay and jitter. Pure; time is given.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use crate::settings::peer_in;

/// First and longest delay between two tries.
const DELAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// A listed peer is tried at least so often: it is the operator's own wish to be connected.
const LISTED_DELAY: Duration = Duration::from_secs(15);
/// Tries of a peer that is not listed, after which it is forgotten.
const MAX_TRIES: u32 = 8;
/// Addresses that wait to be tried. Beyond it new finds are not taken; listed ones always are.
const MAX_TARGETS: usize = 512;

/// An address to keep connected to, or to try.
#[derive(Debug, Clone)]
struct Target {
    peer: Option<PeerId>,
    listed: bool,
    tries: u32,
    at: Instant,
    /// A try is under way.
    dialling: bool,
}

/// All addresses to try.
#[derive(Debug, Default)]
pub(crate) struct Dialler {
    targets: HashMap<Multiaddr, Target>,
}

impl Dialler {
    /// An address from the configuration: tried for as long as it is not connected.
    pub(crate) fn list(&mut self, address: Multiaddr, now: Instant) {
        let target = new_target(&address, true, now);
        self.targets.insert(address, target);
    }

    /// An address that was found.
    pub(crate) fn found(&mut self, peer: PeerId, address: &Multiaddr, now: Instant) {
        let full = address.clone().with_p2p(peer).unwrap_or_else(|other| other);
        if self.targets.len() < MAX_TARGETS {
            self.targets
                .entry(full.clone())
                .or_insert_with(|| new_target(&full, false, now));
        }
    }

    /// The addresses that are due, given who is connected. They count as being tried from now on.
    pub(crate) fn due(&mut self, now: Instant, connected: impl Fn(&PeerId) -> bool) -> Vec<Multiaddr> {
        let mut due = Vec::new();
        for (address, target) in &mut self.targets {
            let is_connected = target.peer.as_ref().is_some_and(&connected);
            if is_connected {
                target.tries = 0;
                target.at = now;
            } else if target.at <= now && !target.dialling {
                target.dialling = true;
                due.push(address.clone());
            }
        }
        due
    }

    /// A try ended with a connection to `peer`.
    pub(crate) fn reached(&mut self, address: &Multiaddr, peer: PeerId) {
        for (known, target) in &mut self.targets {
            if same(known, address) || target.peer == Some(peer) {
                target.peer = Some(peer);
                target.dialling = false;
                target.tries = 0;
            }
        }
    }

    /// A try failed. `jitter` is between 0 and 1.
    pub(crate) fn failed(&mut self, address: &Multiaddr, now: Instant, jitter: f64) {
        let Some(known) = self.targets.keys().find(|known| same(known, address)).cloned() else {
            return;
        };
        let Some(target) = self.targets.get_mut(&known) else {
            return;
        };
        target.dialling = false;
        target.tries += 1;
        if target.tries >= MAX_TRIES && !target.listed {
            self.targets.remove(&known);
            return;
        }
        let longest = if target.listed { LISTED_DELAY } else { DELAY.1 };
        let delay = DELAY.0.saturating_mul(1 << target.tries.min(16)).min(longest);
        target.at = now + delay.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0));
        // A peer whose identity has changed answers at the same address as somebody else.
        if peer_in(&known).is_none() {
            target.peer = None;
        }
    }

    /// The address is this node itself, or somebody who must not be connected.
    pub(crate) fn forget(&mut self, address: &Multiaddr) {
        self.targets.retain(|known, _| !same(known, address));
    }
}

fn new_target(address: &Multiaddr, listed: bool, now: Instant) -> Target {
    Target {
        peer: peer_in(address),
        listed,
        tries: 0,
        at: now,
        dialling: false,
    }
}

/// Whether two addresses are the same place, with or without the peer's id.
fn same(one: &Multiaddr, other: &Multiaddr) -> bool {
    let is_relayed = |address: &Multiaddr| {
        address
            .iter()
            .any(|part| part == libp2p::multiaddr::Protocol::P2pCircuit)
    };
    if is_relayed(one) || is_relayed(other) {
        // Everybody behind one relay has the same place; only the peers tell them apart.
        return one == other;
    }
    place(one).eq(place(other))
}

fn place(address: &Multiaddr) -> impl Iterator<Item = libp2p::multiaddr::Protocol<'_>> {
    address
        .iter()
        .filter(|part| !matches!(part, libp2p::multiaddr::Protocol::P2p(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_listed_peer_is_tried_for_ever_with_growing_delays() {
        let mut dialler = Dialler::default();
        let start = Instant::now();
        let address = at("/ip4/127.0.0.2/tcp/9");
        dialler.list(address.clone(), start);
        let mut now = start;
        let mut delays = Vec::new();
        for _ in 0..20 {
            assert_eq!(dialler.due(now, |_| false), std::slice::from_ref(&address));
            assert!(dialler.due(now, |_| false).is_empty(), "one try at a time");
            dialler.failed(&address, now, 0.5);
            let before = now;
            while dialler.targets[&address].at > now {
                now += Duration::from_millis(100);
            }
            delays.push(now - before);
        }
        assert!(delays[0] < delays[3], "{delays:?}");
        assert!(
            delays.iter().all(|delay| *delay <= LISTED_DELAY.mul_f64(1.2)),
            "{delays:?}"
        );
    }

    #[test]
    fn a_connected_peer_is_left_alone_and_tried_at_once_when_it_is_lost() {
        let mut dialler = Dialler::default();
        let (now, peer) = (Instant::now(), PeerId::random());
        let address = at("/ip4/127.0.0.2/tcp/9");
        dialler.list(address.clone(), now);
        assert_eq!(dialler.due(now, |_| false).len(), 1);
        dialler.reached(&address.clone().with_p2p(peer).unwrap(), peer);
        assert!(dialler.due(now, |one| *one == peer).is_empty());
        assert_eq!(dialler.due(now, |_| false), [address]);
    }

    #[test]
    fn what_was_found_is_given_up_after_a_while_and_bounded() {
        let mut dialler = Dialler::default();
        let (mut now, peer) = (Instant::now(), PeerId::random());
        let address = at("/ip4/127.0.0.2/tcp/9");
        dialler.found(peer, &address, now);
        for _ in 0..MAX_TRIES {
            let due = dialler.due(now, |_| false);
            assert_eq!(due.len(), 1);
            dialler.failed(&due[0], now, 0.0);
            now += DELAY.1 * 2;
        }
        assert!(dialler.targets.is_empty());
        for port in 1..=2 * u16::try_from(MAX_TARGETS).unwrap() {
            dialler.found(peer, &at(&format!("/ip4/127.0.0.2/tcp/{port}")), now);
        }
        assert_eq!(dialler.targets.len(), MAX_TARGETS);
    }
}
