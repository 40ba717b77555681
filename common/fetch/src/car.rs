//! CAR files, version 1: a header, then blocks, each with its content id in front (IPLD content-addressable archives).
//!
//! Every block is hashed while it is read, so what comes out is what its content id names. Which blocks belong together is
//! for `content` to see.

use std::collections::HashMap;

use cid::Cid;
use sha2::{Digest, Sha256};

/// Code of SHA-256 in a multihash; other hash functions are hardly ever met.
const SHA2_256: u64 = 0x12;
/// Code of a content id that holds its content itself.
const IDENTITY: u64 = 0x00;
/// Longest varint that fits into 64 bits.
const VARINT_BYTES: usize = 10;

/// Why an archive or a block is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentError {
    /// It is something else than its content id names.
    #[error("{0}")]
    Corrupt(String),
    /// It may be right, but this program cannot tell.
    #[error("{0}")]
    Unverifiable(String),
}

/// The blocks of an archive, by content id.
#[derive(Debug, Default)]
pub(crate) struct Blocks<'a>(HashMap<Cid, &'a [u8]>);

impl<'a> Blocks<'a> {
    /// Reads an archive and checks every block in it.
    pub(crate) fn read(archive: &'a [u8]) -> Result<Self, ContentError> {
        let mut rest = archive;
        // The header names the roots, which the caller knows better.
        section(&mut rest)?.ok_or_else(|| corrupt("the archive is empty"))?;
        let mut blocks = HashMap::new();
        while let Some(section) = section(&mut rest)? {
            let mut block = section;
            let cid =
                Cid::read_bytes(&mut block).map_err(|cause| corrupt(&format!("a block has no content id: {cause}")))?;
            check(&cid, block)?;
            blocks.insert(cid, block);
        }
        Ok(Self(blocks))
    }

    /// The bytes of a block.
    pub(crate) fn get(&self, cid: &Cid) -> Result<Vec<u8>, ContentError> {
        match self.0.get(cid) {
            Some(block) => Ok(block.to_vec()),
            None if cid.hash().code() == IDENTITY => Ok(cid.hash().digest().to_vec()),
            None => Err(corrupt(&format!("the block {cid} is missing"))),
        }
    }
}

/// Whether `block` is what `cid` names.
pub(crate) fn check(cid: &Cid, block: &[u8]) -> Result<(), ContentError> {
    let found = match cid.hash().code() {
        SHA2_256 => Sha256::digest(block).to_vec(),
        IDENTITY => block.to_vec(),
        other => {
            let text = format!("{cid} uses the hash function {other:#x}, and this program knows SHA-256 alone");
            return Err(ContentError::Unverifiable(text));
        }
    };
    if found == cid.hash().digest() {
        Ok(())
    } else {
        Err(corrupt(&format!("a block does not have the hash of {cid}")))
    }
}

/// The next section, without its length; nothing at the end.
fn section<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, ContentError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let length = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
    let (section, after) = rest
        .split_at_checked(length)
        .ok_or_else(|| corrupt("the archive is torn"))?;
    *rest = after;
    Ok(Some(section))
}

fn varint(rest: &mut &[u8]) -> Result<u64, ContentError> {
    let mut number = 0_u64;
    for at in 0..VARINT_BYTES {
        let (byte, after) = rest.split_first().ok_or_else(|| corrupt("the archive is torn"))?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(corrupt("a length in the archive is too long"))
}

pub(crate) fn corrupt(text: &str) -> ContentError {
    ContentError::Corrupt(text.to_owned())
}
