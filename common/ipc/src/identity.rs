//! Who speaks on a connection: the role of a process and the build of its binary. Both are for logs and for the
//! refusal text; they are claims, so nothing is granted because of them.

use std::fmt;

/// The programs that take part. Append only: the number is the wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// `wavs`.
    Supervisor = 1,
    /// `wavs-trigger`.
    Trigger = 2,
    /// `wavs-engine`.
    Engine = 3,
    /// `wavs-aggregator`.
    Aggregator = 4,
    /// `wavs-p2p`.
    P2p = 5,
    /// A tool or a test.
    Tool = 6,
}

impl Role {
    /// The wire form.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name of a role by its wire form; a number from a newer build has none.
    #[must_use]
    pub const fn name(number: u8) -> &'static str {
        match number {
            1 => "supervisor",
            2 => "trigger-svc",
            3 => "engine-svc",
            4 => "aggregator-svc",
            5 => "p2p-svc",
            6 => "tool",
            _ => "unknown",
        }
    }
}

/// Names a build in 16 bytes: the start of its version text, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BuildId(pub [u8; Self::LEN]);

impl BuildId {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// The version of this workspace.
    pub const CURRENT: Self = Self::from_text(env!("CARGO_PKG_VERSION"));

    /// Takes the first 16 bytes of `text`.
    #[must_use]
    pub const fn from_text(text: &str) -> Self {
        let from = text.as_bytes();
        let mut id = [0; Self::LEN];
        let mut at = 0;
        while at < from.len() && at < Self::LEN {
            id[at] = from[at];
            at += 1;
        }
        Self(id)
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::LEN);
        // The bytes come from a peer: nothing but printable ASCII reaches a log.
        self.0[..end]
            .iter()
            .try_for_each(|byte| write!(f, "{}", byte.escape_ascii()))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

/// What a process says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its role.
    pub role: Role,
    /// Its build.
    pub build: BuildId,
}

impl Identity {
    /// `role` in this build.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            build: BuildId::CURRENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_shows_its_text_and_nothing_unprintable() {
        assert_eq!(BuildId::from_text("0.1.0").to_string(), "0.1.0");
        assert_eq!(
            BuildId::from_text("0.1.0-a-very-long-suffix").to_string(),
            "0.1.0-a-very-lon"
        );
        assert_eq!(BuildId::from_text("a\u{1b}[2J\n").to_string(), "a\\x1b[2J\\n");
    }
}
