//! What guests are refused for want of a permission. They are told and may cope with it, so no run fails by it alone: it is counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denial {
    /// A request to a host that the component does not name.
    Host,
    /// A connection to an address that the policy of the node closes.
    Address,
    /// Any use of a socket by a component without `raw_sockets`.
    Socket,
    /// A socket that waits for others, without a grant of the operator.
    Bind,
    /// A look-up by a component without `dns_resolution`.
    Name,
}

/// How often each was refused to one run.
#[derive(Debug, Default)]
pub(crate) struct Denials([AtomicU64; Denial::ALL.len()]);

impl Denial {
    const ALL: [Self; 5] = [Self::Host, Self::Address, Self::Socket, Self::Bind, Self::Name];

    /// The name in metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Address => "address",
            Self::Socket => "socket",
            Self::Bind => "bind",
            Self::Name => "name",
        }
    }
}

impl Denials {
    /// Counts one.
    pub(crate) fn count(&self, denial: Denial) {
        self.0[denial as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Those that there were, by name.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |denial: Denial| (denial.as_str(), self.0[denial as usize].load(Ordering::Relaxed));
        Denial::ALL.into_iter().map(count).filter(|(_, count)| *count > 0)
    }
}
