//! The two Solidity encodings that the example contracts use, by hand: a general ABI library would be larger
//! than the components that need these few words.

/// Why bytes are not the encoding that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed ABI encoding: {}", self.0)
    }
}

/// A trigger as the trigger contract announces it.
#[derive(Debug, PartialEq, Eq)]
pub struct TriggerInfo {
    pub trigger_id: u64,
    pub creator: [u8; 20],
    pub data: Vec<u8>,
}

const WORD: usize = 32;

/// Decode the data of `NewTrigger(bytes)`, whose bytes are
/// `abi.encode(TriggerInfo{uint64 triggerId, address creator, bytes data})`.
pub fn decode_new_trigger(event_data: &[u8]) -> Result<TriggerInfo, Malformed> {
    let inner = bytes_at(event_data, length(event_data, 0)?)?;
    let base = length(inner, 0)?;
    let tuple = inner.get(base..).ok_or(Malformed("the tuple starts beyond the end"))?;
    let id = word(tuple, 0)?;
    let creator = word(tuple, 1)?;
    if id[..24].iter().any(|byte| *byte != 0) {
        return Err(Malformed("the trigger id is wider than 64 bits"));
    }
    let data = bytes_at(tuple, length(tuple, 2)?)?;
    Ok(TriggerInfo {
        trigger_id: u64::from_be_bytes(id[24..].try_into().map_err(|_| Malformed("trigger id"))?),
        creator: creator[12..].try_into().map_err(|_| Malformed("creator"))?,
        data: data.to_vec(),
    })
}

/// `abi.encode(DataWithId{uint64 triggerId, bytes data})`.
pub fn encode_data_with_id(trigger_id: u64, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 * WORD + data.len());
    for value in [WORD as u64, trigger_id, 2 * WORD as u64, data.len() as u64] {
        out.extend_from_slice(&[0; 24]);
        out.extend_from_slice(&value.to_be_bytes());
    }
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(WORD), 0);
    out
}

fn word(bytes: &[u8], index: usize) -> Result<&[u8; WORD], Malformed> {
    bytes
        .get(index * WORD..(index + 1) * WORD)
        .and_then(|slice| slice.try_into().ok())
        .ok_or(Malformed("it ends within a word"))
}

/// A word that holds an offset or a length. Anything beyond 32 bits is longer than a component's memory.
fn length(bytes: &[u8], index: usize) -> Result<usize, Malformed> {
    let word = word(bytes, index)?;
    let (high, low) = word.split_at(28);
    if high.iter().any(|byte| *byte != 0) {
        return Err(Malformed("an offset or length is out of range"));
    }
    low.iter()
        .try_fold(0_usize, |sum, byte| {
            sum.checked_mul(256)?.checked_add(usize::from(*byte))
        })
        .ok_or(Malformed("an offset or length is out of range"))
}

/// Dynamic bytes at an offset: a length word, then that many bytes. Missing padding is tolerated.
fn bytes_at(bytes: &[u8], offset: usize) -> Result<&[u8], Malformed> {
    let tail = bytes
        .get(offset..)
        .ok_or(Malformed("an offset points beyond the end"))?;
    let len = length(tail, 0)?;
    tail[WORD..]
        .get(..len)
        .ok_or(Malformed("bytes are shorter than their length says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn num(value: u64) -> [u8; 32] {
        let mut word = [0; 32];
        word[24..].copy_from_slice(&value.to_be_bytes());
        word
    }

    fn event(id: u64, data: &[u8]) -> Vec<u8> {
        let mut creator = [0; 32];
        creator[12..].fill(0xcc);
        let mut inner = [num(32), num(id), creator, num(96), num(data.len() as u64)].concat();
        inner.extend_from_slice(data);
        inner.resize(inner.len().next_multiple_of(32), 0);
        let mut out = [num(32), num(inner.len() as u64)].concat();
        out.extend_from_slice(&inner);
        out
    }

    #[test]
    fn a_trigger_is_decoded() {
        let info = decode_new_trigger(&event(7, b"hello")).unwrap();
        assert_eq!(
            info,
            TriggerInfo {
                trigger_id: 7,
                creator: [0xcc; 20],
                data: b"hello".to_vec()
            }
        );
    }

    #[test]
    fn no_truncation_panics_or_passes() {
        let whole = event(u64::MAX, &[9; 32]);
        for len in 0..whole.len() {
            assert!(decode_new_trigger(&whole[..len]).is_err(), "{len} bytes passed");
        }
    }

    #[test]
    fn wild_offsets_are_refused() {
        for index in [0, 1, 2, 5, 6] {
            let mut bytes = event(1, b"x");
            bytes[index * 32..(index + 1) * 32].fill(0xff);
            assert!(decode_new_trigger(&bytes).is_err(), "word {index}");
        }
    }

    #[test]
    fn data_with_id_has_five_words_for_a_short_text() {
        let bytes = encode_data_with_id(3, b"abc");
        assert_eq!(bytes.len(), 160);
        assert_eq!(bytes[..128], [num(32), num(3), num(64), num(3)].concat());
        assert_eq!(&bytes[128..131], b"abc");
        assert!(bytes[131..].iter().all(|byte| *byte == 0));
        assert_eq!(encode_data_with_id(0, b"").len(), 128);
    }
}
