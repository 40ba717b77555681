//! What engine-svc and the compile host say to each other: one JSON document per line.
//!
//! A request names a component by digest only, so whoever takes over engine-svc can make the host compile what is in the
//! component store, and nothing else.

use std::io::{self, BufRead, Read as _, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wavs_types::ComponentDigest;

use crate::runtime::Variant;

/// Bytes of one line; a longer one ends the conversation. The text of a compile error is cut before it gets here.
const MAX_LINE: u64 = 64 << 10;
/// Bytes of the text of an error.
pub(super) const MAX_TEXT: usize = 4 << 10;

/// Have code in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Repeated in the answer.
    pub(super) id: u64,
    /// The component, which is in the store.
    pub(super) digest: ComponentDigest,
    /// Which code.
    pub(super) variant: Variant,
    /// The code that is in the cache is of no use.
    pub(super) replace: bool,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// That of the request.
    pub(super) id: u64,
    /// How it ended.
    pub(super) outcome: Outcome,
}

/// How a compilation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The code is in the cache.
    Stored,
    /// The component is at fault; it will be so again.
    Rejected(String),
    /// This machine is at fault; it may go better another time.
    Failed(String),
}

/// Writes one line.
///
/// # Errors
/// When the other side is gone.
pub(super) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads one line; `None` when the other side is gone.
///
/// # Errors
/// When it sends something else.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    if from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// At most [`MAX_TEXT`] bytes of a text.
pub(super) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_endless_lines_do_not() {
        let request = Request {
            id: 3,
            digest: ComponentDigest::new([7; 32]),
            variant: Variant::Metered,
            replace: true,
        };
        let answer = Answer {
            id: 3,
            outcome: Outcome::Rejected(cut(&"\n\"é".repeat(MAX_TEXT))),
        };
        let mut wire = Vec::new();
        write(&mut wire, &request).unwrap();
        write(&mut wire, &answer).unwrap();
        let mut from = wire.as_slice();
        assert_eq!(read(&mut from).unwrap(), Some(request));
        assert_eq!(read(&mut from).unwrap(), Some(answer));
        assert_eq!(read::<Answer>(&mut from).unwrap(), None);
        assert!(read::<Answer>(&mut b"{\n".as_slice()).is_err());
        let endless = vec![b' '; usize::try_from(MAX_LINE).unwrap() + 1];
        assert!(read::<Answer>(&mut endless.as_slice()).is_err());
    }
}
