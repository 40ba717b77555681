//! The choice of the reference block: a past block, as contracts count them, at which operators and weights are looked up.

/// Distances tried when a manager refuses the reference block, before the attempt waits for a block.
pub(super) const FALLBACKS: [u64; 4] = [1, 2, 4, 8];
/// Largest value of the field; one more means "latest" on proof-of-authority managers and fails everywhere else.
const MAX: u64 = u32::MAX as u64 - 1;

/// `B - 1 - lag` where that is a block that contracts can look up, else nothing: wait for the chain to advance.
pub(super) fn reference_block(contract_number: u64, lag: u64) -> Option<u32> {
    let block = contract_number.checked_sub(1)?.checked_sub(lag)?;
    if (1..=MAX).contains(&block) {
        u32::try_from(block).ok()
    } else {
        None
    }
}

/// An older reference block after a refusal of `block`.
pub(super) fn older(block: u32, distance: u64) -> Option<u32> {
    let block = u64::from(block).checked_sub(distance)?;
    if block >= 1 { u32::try_from(block).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_and_high_heights() {
        let table = [
            (0, 0, None),
            (1, 0, None),
            (2, 0, Some(1)),
            (2, 1, None),
            (3, 1, Some(1)),
            (u64::from(u32::MAX), 0, Some(u32::MAX - 1)),
            (u64::from(u32::MAX) + 1, 0, None),
            (u64::MAX, 0, None),
        ];
        for (number, lag, expect) in table {
            assert_eq!(reference_block(number, lag), expect, "{number} {lag}");
        }
        assert_eq!(older(3, 2), Some(1));
        assert_eq!(older(2, 2), None);
        assert_eq!(older(1, 8), None);
    }
}
