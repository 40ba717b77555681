//! Content from IPFS: whether it is what its content id names.
//!
//! A content id with the codec "raw" is the hash of the file itself. Others name a graph of blocks (UnixFS in dag-pb): the
//! archive that a gateway makes of it is taken apart, each block is hashed, and the file is put together from them again.
//! A path leads through directories; large ones that are split up (HAMT) cannot be checked.

use cid::Cid;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::car::{Blocks, ContentError, check, corrupt};

/// Codec of a content id that names the bytes of a file.
const RAW: u64 = 0x55;
/// Codec of a content id that names a node of a graph.
const DAG_PB: u64 = 0x70;
/// Blocks of one file that are visited, so that a graph that refers to itself in many ways comes to an end.
const MAX_BLOCKS: usize = 100_000;

/// Whether content from a gateway is checked against its content id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Verify {
    /// What cannot be checked is refused.
    Require,
    /// What cannot be checked is taken, with a warning.
    #[default]
    Prefer,
    /// The gateway is believed.
    Off,
}

/// What an `ipfs:` URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) cid: Cid,
    /// Without a slash in front; empty for the content itself.
    pub(crate) path: String,
}

/// A node of the graph (the dag-pb specification of IPLD).
#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(bytes = "vec", optional, tag = "1")]
    data: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "2")]
    links: Vec<Link>,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", optional, tag = "1")]
    hash: Option<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
}

/// The data of a node (UnixFS version 1).
#[derive(Clone, PartialEq, Message)]
struct UnixFs {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", optional, tag = "2")]
    data: Option<Vec<u8>>,
}

const KIND_RAW: i32 = 0;
const KIND_DIRECTORY: i32 = 1;
const KIND_FILE: i32 = 2;

impl Content {
    /// Whether the content id is the hash of the file.
    pub(crate) fn is_file_hash(&self) -> bool {
        self.cid.codec() == RAW && self.path.is_empty()
    }

    /// Checks the file itself, for content ids of that kind.
    pub(crate) fn check_file(&self, bytes: &[u8]) -> Result<(), ContentError> {
        check(&self.cid, bytes)
    }

    /// Puts the file together from an archive. It has at most `max_bytes`.
    pub(crate) fn assemble(&self, archive: &[u8], max_bytes: u64) -> Result<Vec<u8>, ContentError> {
        let blocks = Blocks::read(archive)?;
        let mut file = Vec::new();
        let mut open = vec![self.resolve(&blocks)?];
        let mut visited = 0;
        while let Some(cid) = open.pop() {
            visited += 1;
            if visited > MAX_BLOCKS {
                return Err(corrupt("it has more blocks than a file may have"));
            }
            let block = blocks.get(&cid)?;
            match cid.codec() {
                RAW => file.extend(block),
                DAG_PB => {
                    let (node, unixfs) = decode(&block)?;
                    if !matches!(unixfs.kind, KIND_FILE | KIND_RAW) {
                        return Err(corrupt("it is not a file"));
                    }
                    file.extend(unixfs.data.unwrap_or_default());
                    for link in node.links.iter().rev() {
                        open.push(link.target()?);
                    }
                }
                other => return Err(unknown(other)),
            }
            if file.len() as u64 > max_bytes {
                return Err(corrupt(&format!("it is larger than {max_bytes} bytes")));
            }
        }
        Ok(file)
    }

    /// Follows the path from directory to directory.
    fn resolve(&self, blocks: &Blocks<'_>) -> Result<Cid, ContentError> {
        if self.path.contains('%') {
            let text = "its path has escaped characters, which gateways read in different ways";
            return Err(ContentError::Unverifiable(text.to_owned()));
        }
        let mut at = self.cid;
        for name in self.path.split('/').filter(|name| !name.is_empty()) {
            if at.codec() != DAG_PB {
                return Err(unknown(at.codec()));
            }
            let (node, unixfs) = decode(&blocks.get(&at)?)?;
            if unixfs.kind != KIND_DIRECTORY {
                let text = format!("{at} is not a plain directory");
                return Err(ContentError::Unverifiable(text));
            }
            let mut links = node.links.iter();
            at = links
                .find(|link| link.name.as_deref() == Some(name))
                .ok_or_else(|| corrupt(&format!("the directory has no {name:?}")))?
                .target()?;
        }
        Ok(at)
    }
}

impl Link {
    fn target(&self) -> Result<Cid, ContentError> {
        let bytes = self.hash.as_deref().unwrap_or_default();
        Cid::try_from(bytes).map_err(|cause| corrupt(&format!("a link leads nowhere: {cause}")))
    }
}

fn decode(block: &[u8]) -> Result<(Node, UnixFs), ContentError> {
    let broken = |cause: prost::DecodeError| corrupt(&format!("a block is not UnixFS: {cause}"));
    let node = Node::decode(block).map_err(broken)?;
    let unixfs = UnixFs::decode(node.data.as_deref().unwrap_or_default()).map_err(broken)?;
    Ok((node, unixfs))
}

fn unknown(codec: u64) -> ContentError {
    ContentError::Unverifiable(format!(
        "it uses the codec {codec:#x}, and this program knows raw and dag-pb alone"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    /// The content id of a block, version 1 with SHA-256.
    fn cid(codec: u8, block: &[u8]) -> Cid {
        let mut bytes = vec![1, codec, 0x12, 32];
        bytes.extend(Sha256::digest(block));
        Cid::try_from(bytes.as_slice()).unwrap()
    }

    fn node(kind: i32, data: &[u8], links: &[(&str, Cid)]) -> Vec<u8> {
        let unixfs = UnixFs {
            kind,
            data: Some(data.to_vec()),
        };
        let links = links.iter().map(|(name, cid)| Link {
            hash: Some(cid.to_bytes()),
            name: Some((*name).to_owned()),
        });
        Node {
            data: Some(unixfs.encode_to_vec()),
            links: links.collect(),
        }
        .encode_to_vec()
    }

    fn archive(blocks: &[(Cid, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![1, 0xa0];
        for (cid, block) in blocks {
            let section = [cid.to_bytes(), block.clone()].concat();
            let mut length = section.len();
            while length > 0x7f {
                bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            bytes.push(u8::try_from(length).unwrap());
            bytes.extend(section);
        }
        bytes
    }

    /// A directory with the file "hello world" in two chunks.
    fn sample() -> (Content, Vec<(Cid, Vec<u8>)>) {
        let raw = |text: &str| (cid(0x55, text.as_bytes()), text.as_bytes().to_vec());
        let [one, two] = [raw("hello "), raw("world")];
        let file = node(KIND_FILE, b"", &[("", one.0), ("", two.0)]);
        let file = (cid(0x70, &file), file);
        let directory = node(KIND_DIRECTORY, b"", &[("other", one.0), ("a.wasm", file.0)]);
        let directory = (cid(0x70, &directory), directory);
        let content = Content {
            cid: directory.0,
            path: "a.wasm".into(),
        };
        (content, vec![directory, file, one, two])
    }

    #[test]
    fn a_file_is_put_together_along_its_path() {
        let (content, blocks) = sample();
        assert_eq!(content.assemble(&archive(&blocks), 11).unwrap(), b"hello world");
        let direct = Content {
            cid: blocks[1].0,
            path: String::new(),
        };
        assert_eq!(direct.assemble(&archive(&blocks[1..]), 11).unwrap(), b"hello world");
        assert!(matches!(
            content.assemble(&archive(&blocks), 10),
            Err(ContentError::Corrupt(_))
        ));
    }

    #[test]
    fn what_is_changed_or_missing_is_noticed() {
        let (content, blocks) = sample();
        for changed in 0..blocks.len() {
            let mut blocks = blocks.clone();
            blocks[changed].1.push(b'x');
            assert!(
                matches!(content.assemble(&archive(&blocks), 99), Err(ContentError::Corrupt(_))),
                "{changed}"
            );
            blocks.remove(changed);
            assert!(
                matches!(content.assemble(&archive(&blocks), 99), Err(ContentError::Corrupt(_))),
                "{changed}"
            );
        }
        let whole = archive(&blocks);
        assert!(content.assemble(&whole[..whole.len() - 1], 99).is_err());
        let absent = Content {
            path: "b.wasm".into(),
            ..content.clone()
        };
        assert!(absent.assemble(&whole, 99).unwrap_err().to_string().contains("b.wasm"));
        let directory = Content {
            path: String::new(),
            ..content
        };
        assert!(directory.assemble(&whole, 99).is_err());
    }

    #[test]
    fn a_graph_that_unfolds_without_end_is_given_up() {
        // Each level refers to the one below twice: two to the power of forty visits.
        let mut below = (cid(0x55, b""), Vec::new());
        let mut blocks = vec![below.clone()];
        for _ in 0..40 {
            let level = node(KIND_FILE, b"", &[("", below.0), ("", below.0)]);
            below = (cid(0x70, &level), level);
            blocks.push(below.clone());
        }
        let content = Content {
            cid: below.0,
            path: String::new(),
        };
        let error = content.assemble(&archive(&blocks), 99).unwrap_err();
        assert!(error.to_string().contains("more blocks"), "{error}");
    }

    #[test]
    fn a_raw_content_id_is_the_hash_of_the_file() {
        let content = Content {
            cid: cid(0x55, b"file"),
            path: String::new(),
        };
        assert!(content.is_file_hash());
        content.check_file(b"file").unwrap();
        assert!(content.check_file(b"fake").is_err());
    }

    proptest! {
        #[test]
        fn no_archive_panics(bytes: Vec<u8>) {
            let (content, _) = sample();
            let _ = content.assemble(&bytes, 1 << 20);
        }

        #[test]
        fn no_flipped_byte_yields_another_file(at in 0_usize..400, bit in 0_u8..8) {
            let (content, blocks) = sample();
            let mut bytes = archive(&blocks);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(file) = content.assemble(&bytes, 1 << 20) {
                prop_assert_eq!(file, b"hello world");
            }
        }
    }
}
