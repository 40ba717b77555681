//! The fixed bytes before any tarpc frame, so that two builds find out whether they understand each other.
//!
//! The client sends 32 bytes (all numbers big endian): magic (8), contract number (u16), lowest and highest version
//! (u16 each), role (u8), zero (u8), build id (16). The server answers 32 bytes: magic (8), verdict (u8, 0 = accepted),
//! role (u8), chosen version (u16, 0 if refused), its lowest and highest version for that contract (u16 each, 0 if it
//! does not serve it), build id (16). The layout is frozen; a change needs a new magic.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::identity::{BuildId, Identity, Role};

/// First bytes of both halves; the last one is the version of this layout.
pub const MAGIC: [u8; 8] = *b"WAVSIPC\x01";

/// Length of either half, in bytes.
pub const LEN: usize = 32;

/// The versions of a contract that a build speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl VersionRange {
    /// The highest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.min, self.max)
    }
}

/// Why a server refuses a connection. Append only: the number is the wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// The first bytes are not [`MAGIC`].
    WrongMagic = 1,
    /// This socket does not serve the contract.
    UnknownContract = 2,
    /// No version is spoken by both sides.
    NoCommonVersion = 3,
    /// The peer's user may not use this socket.
    PeerNotAllowed = 4,
    /// All connections of this socket are taken.
    TooManyConnections = 5,
    /// The half of the client breaks the layout.
    Malformed = 6,
    /// The server is stopping.
    Draining = 7,
    /// A code that this build does not know.
    Other = 255,
}

impl Refusal {
    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::WrongMagic,
            2 => Self::UnknownContract,
            3 => Self::NoCommonVersion,
            4 => Self::PeerNotAllowed,
            5 => Self::TooManyConnections,
            6 => Self::Malformed,
            7 => Self::Draining,
            _ => Self::Other,
        }
    }

    /// Whether the two builds do not fit together, which no retry cures: the refused process exits with code 78.
    #[must_use]
    pub fn is_skew(self) -> bool {
        matches!(
            self,
            Self::WrongMagic | Self::UnknownContract | Self::NoCommonVersion | Self::Malformed | Self::Other
        )
    }

    /// The reason as a clause.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::WrongMagic => "it expects another preamble",
            Self::UnknownContract => "it does not serve this contract on this socket",
            Self::NoCommonVersion => "it speaks no version of the contract that we speak",
            Self::PeerNotAllowed => "our user may not use this socket",
            Self::TooManyConnections => "all its connections are taken",
            Self::Malformed => "our preamble breaks the layout",
            Self::Draining => "it is stopping",
            Self::Other => "of a reason that this build does not know",
        }
    }
}

/// The client's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The contract that is asked for.
    pub contract: u16,
    /// The versions of it that the client speaks.
    pub versions: VersionRange,
    /// The client's role, see [`Role::name`].
    pub role: u8,
    /// The client's build.
    pub build: BuildId,
}

impl Hello {
    /// The half of `identity`, asking for `contract`.
    #[must_use]
    pub fn new(identity: Identity, contract: u16, versions: VersionRange) -> Self {
        Self {
            contract,
            versions,
            role: identity.role.number(),
            build: identity.build,
        }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.contract.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.versions.min.to_be_bytes());
        bytes[12..14].copy_from_slice(&self.versions.max.to_be_bytes());
        bytes[14] = self.role;
        bytes[16..].copy_from_slice(&self.build.0);
        bytes
    }

    /// Reads the client's half.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn decode(bytes: &[u8; LEN]) -> Result<Self, Refusal> {
        if bytes[..8] != MAGIC {
            return Err(Refusal::WrongMagic);
        }
        let versions = VersionRange {
            min: number(bytes, 10),
            max: number(bytes, 12),
        };
        if bytes[15] != 0 || versions.min == 0 || versions.min > versions.max {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            contract: number(bytes, 8),
            versions,
            role: bytes[14],
            build: build(bytes),
        })
    }
}

/// The server's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The chosen version, or why there will be no conversation.
    pub verdict: Result<u16, Refusal>,
    /// The server's versions of the contract; zeros when it does not serve it.
    pub versions: VersionRange,
    /// The server's role, see [`Role::name`].
    pub role: u8,
    /// The server's build.
    pub build: BuildId,
}

impl Answer {
    /// The half of `identity`.
    #[must_use]
    pub fn new(identity: Identity, verdict: Result<u16, Refusal>, versions: Option<VersionRange>) -> Self {
        let versions = versions.unwrap_or(VersionRange { min: 0, max: 0 });
        Self {
            verdict,
            versions,
            role: identity.role.number(),
            build: identity.build,
        }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let (verdict, version) = match self.verdict {
            Ok(version) => (0, version),
            Err(refusal) => (refusal as u8, 0),
        };
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = verdict;
        bytes[9] = self.role;
        bytes[10..12].copy_from_slice(&version.to_be_bytes());
        bytes[12..14].copy_from_slice(&self.versions.min.to_be_bytes());
        bytes[14..16].copy_from_slice(&self.versions.max.to_be_bytes());
        bytes[16..].copy_from_slice(&self.build.0);
        bytes
    }

    /// Reads the server's half.
    ///
    /// # Errors
    /// [`Refusal::WrongMagic`] when these are not the bytes of a server of ours.
    pub fn decode(bytes: &[u8; LEN]) -> Result<Self, Refusal> {
        if bytes[..8] != MAGIC {
            return Err(Refusal::WrongMagic);
        }
        let verdict = match bytes[8] {
            0 => Ok(number(bytes, 10)),
            code => Err(Refusal::from_number(code)),
        };
        let versions = VersionRange {
            min: number(bytes, 12),
            max: number(bytes, 14),
        };
        Ok(Self {
            verdict,
            versions,
            role: bytes[9],
            build: build(bytes),
        })
    }
}

/// A server that refused us, with what is needed to tell people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} (build {their_build}, versions {theirs}) refused contract {contract} in versions {ours}: {}; {}",
    Role::name(*.their_role),
    .refusal.reason(),
    if .refusal.is_skew() { "install the same build of all processes and restart them" } else { "try again later" }
)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The contract that was asked for.
    pub contract: &'static str,
    /// The versions that we speak.
    pub ours: VersionRange,
    /// The versions that the server speaks.
    pub theirs: VersionRange,
    /// The server's role.
    pub their_role: u8,
    /// The server's build.
    pub their_build: BuildId,
}

/// Reads one half.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes one half.
pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: [u8; LEN]) -> io::Result<()> {
    stream.write_all(&bytes).await?;
    stream.flush().await
}

fn number(bytes: &[u8; LEN], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn build(bytes: &[u8; LEN]) -> BuildId {
    let mut id = [0; BuildId::LEN];
    id.copy_from_slice(&bytes[LEN - BuildId::LEN..]);
    BuildId(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDENTITY: Identity = Identity {
        role: Role::Aggregator,
        build: BuildId::from_text("0.1.0"),
    };

    #[test]
    fn the_layout_is_frozen() {
        let hello = Hello::new(IDENTITY, 5, VersionRange { min: 1, max: 0x0203 });
        assert_eq!(
            hello.encode(),
            *b"WAVSIPC\x01\x00\x05\x00\x01\x02\x03\x04\x000.1.0\0\0\0\0\0\0\0\0\0\0\0"
        );
        let accepted = Answer::new(IDENTITY, Ok(2), Some(VersionRange { min: 1, max: 2 }));
        assert_eq!(
            accepted.encode(),
            *b"WAVSIPC\x01\x00\x04\x00\x02\x00\x01\x00\x020.1.0\0\0\0\0\0\0\0\0\0\0\0"
        );
        let refused = Answer::new(IDENTITY, Err(Refusal::NoCommonVersion), None);
        assert_eq!(
            refused.encode(),
            *b"WAVSIPC\x01\x03\x04\x00\x00\x00\x00\x00\x000.1.0\0\0\0\0\0\0\0\0\0\0\0"
        );
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        let range = |min, max| VersionRange { min, max };
        assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
        assert_eq!(range(2, 5).common(range(1, 3)), Some(3));
        assert_eq!(range(1, 1).common(range(2, 5)), None);
        assert_eq!(range(4, 4).common(range(4, 4)), Some(4));
    }

    #[test]
    fn broken_ranges_are_refused() {
        for (min, max) in [(0, 1), (2, 1)] {
            let hello = Hello::new(IDENTITY, 1, VersionRange { min, max });
            assert_eq!(Hello::decode(&hello.encode()), Err(Refusal::Malformed));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in any::<[u8; LEN]>(), with_magic: bool) {
            let mut bytes = bytes;
            if with_magic {
                bytes[..8].copy_from_slice(&MAGIC);
            }
            if let Ok(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(hello.encode(), bytes);
            }
            let _ = Answer::decode(&bytes);
        }

        #[test]
        fn both_halves_survive_the_trip(contract: u16, min in 1_u16..100, more in 0_u16..100, role: u8, build: [u8; 16], code in 0_u8..8) {
            let versions = VersionRange { min, max: min + more };
            let hello = Hello { contract, versions, role, build: BuildId(build) };
            prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
            let verdict = if code == 0 { Ok(min) } else { Err(Refusal::from_number(code)) };
            let answer = Answer { verdict, versions, role, build: BuildId(build) };
            prop_assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }
}
