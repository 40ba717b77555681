//! The service managers of the chains that a service's results go to, as its targets show them. They mirror the manager that the
//! service was registered with, and a key that one of them does not know has no weight there.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use wavs_types::{ChainKey, EvmAddress};

/// Managers that are remembered for one service; further ones are not looked at.
const MAX_MIRRORS: usize = 16;

/// Those of one service that were met since the process started.
#[derive(Debug, Default)]
pub struct Mirrors(Mutex<BTreeSet<(ChainKey, EvmAddress)>>);

impl Mirrors {
    /// A target's handler names this manager. True: it is new here.
    pub fn met(&self, chain: &ChainKey, manager: EvmAddress) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < MAX_MIRRORS && known.insert((chain.clone(), manager))
    }

    /// All of them, ascending.
    #[must_use]
    pub fn all(&self) -> Vec<(ChainKey, EvmAddress)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_once_and_not_all_are_remembered() {
        let (mirrors, chain) = (Mirrors::default(), "evm:1".parse().unwrap());
        for byte in 0..u8::try_from(MAX_MIRRORS).unwrap() {
            assert!(mirrors.met(&chain, EvmAddress::from([byte; 20])));
            assert!(!mirrors.met(&chain, EvmAddress::from([byte; 20])));
        }
        assert!(!mirrors.met(&chain, EvmAddress::from([0xff; 20])));
        assert_eq!(mirrors.all().len(), MAX_MIRRORS);
    }
}
