//! The order in which operators post: a keyed permutation per event, the same on every node without a word between them.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use wavs_types::{B256, ChainKey, EventId, EvmAddress};

/// Names the purpose of the hash.
const DOMAIN: &[u8] = b"wavs/tx-order/1";

/// What is to be posted where.
#[derive(Debug, Clone, Copy)]
pub struct Posting<'a> {
    /// The event.
    pub event_id: &'a EventId,
    /// Digest of the envelope.
    pub digest: &'a B256,
    /// The chain.
    pub chain: &'a ChainKey,
    /// The handler: raw bytes of an EVM address, text of another.
    pub handler: &'a [u8],
}

/// The place of a signer: ascending is earlier. Because each place is a hash of its own, two nodes that know different
/// operators still agree on the order of those whom both know.
#[must_use]
pub fn place(key: &[u8], posting: Posting<'_>, signer: &EvmAddress) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    let fields: [&[u8]; 6] = [
        DOMAIN,
        posting.event_id.as_bytes(),
        posting.digest.as_slice(),
        posting.chain.as_str().as_bytes(),
        posting.handler,
        signer.as_slice(),
    ];
    for field in fields {
        // Fields are ids, names and addresses, far below 64 KiB.
        let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
        mac.update(&length.to_be_bytes());
        mac.update(field);
    }
    mac.finalize().into_bytes().into()
}

/// The rank of `own` among `others`: how many post before it. Those that do not post come last, in the same order.
pub fn rank(
    key: &[u8],
    posting: Posting<'_>,
    own: &EvmAddress,
    others: impl Iterator<Item = (EvmAddress, bool)>,
) -> usize {
    let mine = place(key, posting, own);
    let before = |(signer, posts): &(EvmAddress, bool)| *posts && signer != own && place(key, posting, signer) < mine;
    others.filter(before).count()
}

/// The stage of a rank, where `sizes` says how many post in each and what is beyond the last size posts in one last stage.
#[must_use]
pub fn stage(rank: usize, sizes: &[Option<u32>]) -> u32 {
    let mut stage = 0;
    let mut first_of_next = 0_usize;
    for size in sizes {
        let Some(size) = size else { return stage };
        first_of_next = first_of_next.saturating_add(*size as usize);
        if rank < first_of_next {
            return stage;
        }
        stage += 1;
    }
    stage
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn posting<'a>(event: &'a EventId, chain: &'a ChainKey) -> Posting<'a> {
        Posting {
            event_id: event,
            digest: &B256::ZERO,
            chain,
            handler: &[9; 20],
        }
    }

    fn signers(count: u8) -> Vec<EvmAddress> {
        (1..=count).map(EvmAddress::repeat_byte).collect()
    }

    #[test]
    fn the_order_is_frozen() {
        let (event, chain) = (EventId::new([1; 20]), "evm:1".parse().unwrap());
        let place = place(&[7; 32], posting(&event, &chain), &EvmAddress::repeat_byte(2));
        let preimage = [
            &[0, 15][..],
            b"wavs/tx-order/1",
            &[0, 20],
            &[1; 20],
            &[0, 32],
            &[0; 32],
            &[0, 5],
            b"evm:1",
            &[0, 20],
            &[9; 20],
            &[0, 20],
            &[2; 20],
        ]
        .concat();
        let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap();
        mac.update(&preimage);
        assert_eq!(place, <[u8; 32]>::from(mac.finalize().into_bytes()));
    }

    #[test]
    fn all_nodes_agree_and_each_has_a_rank_of_its_own() {
        let chain = "evm:1".parse().unwrap();
        for number in 0..32 {
            let event = EventId::new([number; 20]);
            let all = signers(7);
            let rank = |own| {
                rank(
                    b"key",
                    posting(&event, &chain),
                    own,
                    all.iter().map(|signer| (*signer, true)),
                )
            };
            let ranks: BTreeSet<_> = all.iter().map(rank).collect();
            assert_eq!(ranks, (0..7).collect());
        }
    }

    #[test]
    fn the_first_one_changes_from_event_to_event() {
        let chain = "evm:1".parse().unwrap();
        let all = signers(5);
        let first = |number| {
            let event = EventId::new([number; 20]);
            let rank =
                |own: &&EvmAddress| rank(b"key", posting(&event, &chain), own, all.iter().map(|one| (*one, true))) == 0;
            *all.iter().find(rank).unwrap()
        };
        let firsts: BTreeSet<_> = (0..64).map(first).collect();
        assert_eq!(firsts.len(), 5);
    }

    #[test]
    fn a_node_that_knows_fewer_keeps_the_order_of_those_it_knows() {
        let (event, chain) = (EventId::new([3; 20]), "evm:1".parse().unwrap());
        let all = signers(9);
        let order = |known: &[EvmAddress]| {
            let mut order = known.to_vec();
            order.sort_by_key(|signer| place(b"key", posting(&event, &chain), signer));
            order
        };
        let few: Vec<_> = all.iter().copied().filter(|signer| signer[0] % 2 == 0).collect();
        let kept: Vec<_> = order(&all).into_iter().filter(|signer| few.contains(signer)).collect();
        assert_eq!(kept, order(&few));
    }

    #[test]
    fn who_does_not_post_delays_nobody() {
        let (event, chain) = (EventId::new([3; 20]), "evm:1".parse().unwrap());
        let all = signers(5);
        for own in &all {
            let others = all.iter().map(|signer| (*signer, signer == own));
            assert_eq!(rank(b"key", posting(&event, &chain), own, others), 0);
        }
    }

    #[test]
    fn ranks_fall_into_stages() {
        let sizes = [Some(1), Some(1), Some(1), Some(2), Some(2), Some(4), None];
        let stages: Vec<_> = (0..13).map(|rank| stage(rank, &sizes)).collect();
        assert_eq!(stages, [0, 1, 2, 3, 3, 4, 4, 5, 5, 5, 5, 6, 6]);
        assert_eq!(stage(9, &[Some(1)]), 1);
        assert_eq!(stage(0, &[]), 0);
    }
}
