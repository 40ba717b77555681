//! What engine-svc and a helper say to each other: one JSON document per line.

use std::io::{self, BufRead, Read as _, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of one line; a longer one is not sent, and ends the conversation when it comes.
const MAX_LINE: u64 = 64 << 10;
/// Bytes of the text of an error.
pub(crate) const MAX_TEXT: usize = 4 << 10;

/// A request or its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbered<T> {
    /// The answer has that of its request.
    pub(crate) id: u64,
    /// What is asked or answered.
    pub(crate) body: T,
}

/// Writes one line.
///
/// # Errors
/// When the message is too long, or the other side is gone.
pub(crate) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() as u64 > MAX_LINE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("it has {} bytes, and {MAX_LINE} is the most", line.len()),
        ));
    }
    to.write_all(&line)?;
    to.flush()
}

/// Reads one line; `None` when the other side is gone.
///
/// # Errors
/// When it sends something else.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    if from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// At most [`MAX_TEXT`] bytes of a text.
pub(crate) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Message = Numbered<String>;

    fn message(text: &str) -> Message {
        Numbered {
            id: 3,
            body: text.to_owned(),
        }
    }

    #[test]
    fn messages_come_back_and_endless_lines_do_not() {
        let messages = [message("one"), message(&cut(&"\n\"é".repeat(MAX_TEXT)))];
        let mut wire = Vec::new();
        for message in &messages {
            write(&mut wire, message).unwrap();
        }
        let mut from = wire.as_slice();
        for message in messages {
            assert_eq!(read(&mut from).unwrap(), Some(message));
        }
        assert_eq!(read::<Message>(&mut from).unwrap(), None);
        assert!(read::<Message>(&mut b"{\n".as_slice()).is_err());
        let endless = vec![b' '; usize::try_from(MAX_LINE).unwrap() + 1];
        assert!(read::<Message>(&mut endless.as_slice()).is_err());
    }

    #[test]
    fn what_the_other_side_would_refuse_is_not_sent() {
        let mut wire = Vec::new();
        let long = message(&"x".repeat(usize::try_from(MAX_LINE).unwrap()));
        let error = write(&mut wire, &long).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(wire.is_empty());
    }
}
