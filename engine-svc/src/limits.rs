//! What one run may use.
//!
//! The effective limit is the smaller of the component's own value and the cap of the node (or of the operator's grant
//! to the service, which replaces the node's). The texts of exceeded limits name the value and who set it.

use std::fmt;
use std::time::Duration;

use wavs_types::Component;

/// Elements of one table.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;
/// Core instances of one component.
pub(crate) const CORE_INSTANCES: u32 = 64;
/// Linear memories of one component.
pub(crate) const MEMORIES: u32 = 16;
/// Tables of one component, which seldom has more than one per core instance.
pub(crate) const TABLES: u32 = 16;
/// Bytes that one call from the guest to the host may carry; a larger call traps.
pub(crate) const HOSTCALL_BYTES: usize = 32 << 20;
/// Live component-model handles of one run, and host resources of one run; the next one traps.
pub(crate) const HANDLES: usize = 10_000;
/// Open files and directories of one run, with the streams of all kinds that it holds; the next one fails with
/// `insufficient-memory`. Each may be a descriptor of this process, of which there are fewer than handles of guests.
pub(crate) const OPEN_FILES: usize = 256;
/// Listings of directories that one run holds at a time, each with all names; the next one fails with `insufficient-memory`.
pub(crate) const LISTINGS: usize = 8;
/// HTTP header lists that one run holds; one more is a limit error.
pub(crate) const FIELDS: usize = 1_024;
/// HTTP requests that one run holds before they are sent, and responses; one more is a limit error.
pub(crate) const REQUESTS: usize = 256;
/// HTTP bodies that one run writes at a time; one more is a limit error.
pub(crate) const BODIES: usize = 256;
/// Bytes of the pieces in which the body of an HTTP request waits to be sent.
pub(crate) const BODY_CHUNK: usize = 64 << 10;
/// Bytes of the method or the authority of an HTTP request; longer ones are refused as not valid.
pub(crate) const URI_BYTES: usize = 8 << 10;
/// Open sockets of one run; the next one fails with `new-socket-limit`.
pub(crate) const SOCKETS: usize = 32;
/// The default of [`Caps::files`].
pub(crate) const SERVICE_FILE_BYTES: u64 = 1 << 30;
/// The default of the quota on the key-value data of one service.
pub(crate) const SERVICE_KV_BYTES: u64 = 256 << 20;
/// Files and directories of one service; a run that adds to more is a limit error.
pub(crate) const SERVICE_FILES: u64 = 100_000;
/// Directories of one service below one another; a run that finds or makes deeper ones is a limit error.
pub(crate) const SERVICE_DEPTH: usize = 256;
/// Bytes of one request for randomness; a larger request traps.
pub(crate) const RANDOM_BYTES: u64 = 1 << 20;
/// Bytes of the headers of one HTTP message; more trap.
pub(crate) const HEADER_BYTES: usize = 128 << 10;
/// Responses or actions of one run; more are a limit error.
pub(crate) const RESULTS: usize = 64;
/// Bytes of one event id salt; more are a limit error.
pub(crate) const SALT_BYTES: usize = 1 << 10;
/// Bytes of a guest's own error text that are kept.
pub(crate) const ERROR_TEXT_BYTES: usize = 8 << 10;
/// Fuel of a deterministic run for which nobody set a limit: on common machines it burns up well before the default time
/// limit, so that runs end at the same instruction everywhere. All operators must have the same, so it is not configurable.
const DETERMINISTIC_FUEL: u64 = 100_000_000_000;
/// The fuel cap that stands for "no cap".
pub const NO_FUEL_CAP: u64 = u64::MAX;

/// Longest run in seconds that any configuration can ask for: a clock cannot count to arbitrary deadlines.
const LONGEST_SECONDS: u64 = 30 * 86_400;

/// Who set a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetBy {
    /// The service document.
    Component,
    /// The configuration of the node.
    Node,
    /// The operator's grant to the service.
    Grant,
    /// The deterministic mode, where nobody else did.
    Determinism,
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Component => "the component in the service document",
            Self::Node => "this node's configuration",
            Self::Grant => "this operator's grant to the service",
            Self::Determinism => "the deterministic mode of the service",
        })
    }
}

/// A limit and who set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound<T> {
    pub(crate) value: T,
    pub(crate) set_by: SetBy,
}

/// The caps of the node.
#[derive(Debug, Clone)]
pub struct Caps {
    /// Fuel of one run; [`NO_FUEL_CAP`] for none.
    pub max_fuel: u64,
    /// Wall time of one run in seconds, also for components that ask for none.
    pub max_seconds: u64,
    /// Wall time in seconds that no configuration or grant can exceed.
    pub hard_seconds: u64,
    /// Bytes of all linear memories of one run.
    pub memory: usize,
    /// Bytes of all payloads of one result.
    pub response: usize,
    /// Bytes of all files of one service; a run that adds to more is a limit error.
    pub files: u64,
}

/// Caps for one service in place of the node's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapGrant {
    /// In place of [`Caps::max_fuel`].
    pub max_fuel: Option<u64>,
    /// In place of [`Caps::max_seconds`].
    pub max_seconds: Option<u64>,
}

/// The effective limits of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunLimits {
    /// Absent: the run is not metered.
    pub(crate) fuel: Option<Bound<u64>>,
    pub(crate) time: Bound<Duration>,
    pub(crate) memory: usize,
    pub(crate) response: usize,
    pub(crate) files: u64,
}

impl Caps {
    /// The limits of a run of `component`. A deterministic one always has a fuel limit.
    pub(crate) fn effective(&self, component: &Component, grant: CapGrant, deterministic: bool) -> RunLimits {
        let cap = |granted: Option<u64>, node: u64| match granted {
            Some(value) => Bound {
                value,
                set_by: SetBy::Grant,
            },
            None => Bound {
                value: node,
                set_by: SetBy::Node,
            },
        };
        let mut fuel = lower(component.fuel_limit, cap(grant.max_fuel, self.max_fuel));
        if deterministic && fuel.value == NO_FUEL_CAP {
            fuel = Bound {
                value: DETERMINISTIC_FUEL,
                set_by: SetBy::Determinism,
            };
        }
        let time = lower(component.time_limit_seconds, cap(grant.max_seconds, self.max_seconds));
        let hard = Bound {
            value: self.hard_seconds.min(LONGEST_SECONDS),
            set_by: SetBy::Node,
        };
        let time = if time.value <= hard.value { time } else { hard };
        RunLimits {
            fuel: (fuel.value != NO_FUEL_CAP).then_some(fuel),
            time: Bound {
                value: Duration::from_secs(time.value),
                set_by: time.set_by,
            },
            memory: self.memory,
            response: self.response,
            files: self.files,
        }
    }
}

/// The component's value, or the cap where that is lower or the component has none.
fn lower(component: Option<u64>, cap: Bound<u64>) -> Bound<u64> {
    match component {
        Some(value) if value <= cap.value => Bound {
            value,
            set_by: SetBy::Component,
        },
        _ => cap,
    }
}

/// A limit that a run exceeded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exceeded {
    #[error("Max fuel consumed: the run used up its fuel limit of {} set by {}; raise it there, or do less per run", .0.value, .0.set_by)]
    Fuel(Bound<u64>),
    #[error("Time limit exceeded: the run took longer than {} s, the limit set by {}; raise it there, or do less per run", .0.value.as_secs_f64(), .0.set_by)]
    Time(Bound<Duration>),
    #[error(
        "Memory limit exceeded: the run asked for {asked} bytes of linear memory, and engine.guest_memory_mb of this node allows {limit}; use less memory"
    )]
    Memory { asked: usize, limit: usize },
    #[error(
        "Table limit exceeded: the run asked for a table of {asked} elements, and this node allows {TABLE_ELEMENTS}; use smaller tables"
    )]
    Table { asked: usize },
    #[error(
        "Instance limit exceeded: {0}; one run of this node has at most {CORE_INSTANCES} core instances, {MEMORIES} memories and {TABLES} tables, use fewer"
    )]
    Objects(String),
    #[error(
        "Host call limit exceeded: one call to the host carried more than {HOSTCALL_BYTES} bytes, the limit of this node; pass less at a time"
    )]
    HostCall,
    #[error(
        "Handle limit exceeded: the run holds more than {HANDLES} resources, the limit of this node; drop what is no longer needed"
    )]
    Handles,
    #[error(
        "Handle limit exceeded: the run holds {limit} {what} already, the most that this node allows; drop what is no longer needed"
    )]
    Held { what: &'static str, limit: usize },
    #[error(
        "File limit exceeded: the files of the service come to {asked} bytes, above {limit}, which engine.files_mb_per_service of this node allows; delete what is no longer needed"
    )]
    FileBytes { asked: u64, limit: u64 },
    #[error(
        "File limit exceeded: the service has more than {limit} files and directories, the most that this node allows; delete what is no longer needed"
    )]
    FileCount { limit: u64 },
    #[error(
        "File limit exceeded: directories of the service are nested deeper than {SERVICE_DEPTH}, the most that this node allows; nest them less, and have the operator remove those that are too deep"
    )]
    FileDepth,
    #[error("Result limit exceeded: {what} {asked} is above {limit}, the limit set by this node; return less")]
    Result {
        what: &'static str,
        asked: usize,
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps {
        max_fuel: NO_FUEL_CAP,
        max_seconds: 300,
        hard_seconds: 3600,
        memory: 1,
        response: 1,
        files: 1,
    };

    fn check(fuel: Option<u64>, seconds: Option<u64>, grant: CapGrant, expect: (Option<(u64, SetBy)>, (u64, SetBy))) {
        let component = crate::testing::component(fuel, seconds);
        let limits = CAPS.effective(&component, grant, false);
        assert_eq!(limits.fuel.map(|bound| (bound.value, bound.set_by)), expect.0);
        assert_eq!((limits.time.value.as_secs(), limits.time.set_by), expect.1);
    }

    #[test]
    fn the_lower_of_component_and_cap_applies() {
        use SetBy::{Component, Grant, Node};
        let none = CapGrant::default();
        let grant = |max_fuel, max_seconds| CapGrant { max_fuel, max_seconds };
        check(None, None, none, (None, (300, Node)));
        check(Some(0), Some(0), none, (Some((0, Component)), (0, Component)));
        check(Some(7), Some(301), none, (Some((7, Component)), (300, Node)));
        check(
            Some(7),
            Some(400),
            grant(Some(5), Some(500)),
            (Some((5, Grant)), (400, Component)),
        );
        check(None, Some(9000), grant(None, Some(9000)), (None, (3600, Node)));
        let endless = Caps {
            max_seconds: u64::MAX,
            hard_seconds: u64::MAX,
            ..CAPS
        };
        let limits = endless.effective(&crate::testing::component(None, Some(u64::MAX)), none, false);
        assert_eq!(limits.time.value.as_secs(), LONGEST_SECONDS);
        check(None, None, grant(Some(5), Some(2)), (Some((5, Grant)), (2, Grant)));
        let fuel = |own| {
            CAPS.effective(&crate::testing::component(own, None), none, true)
                .fuel
                .unwrap()
        };
        assert_eq!(
            (fuel(None).value, fuel(None).set_by),
            (DETERMINISTIC_FUEL, SetBy::Determinism)
        );
        assert_eq!((fuel(Some(7)).value, fuel(Some(7)).set_by), (7, Component));
    }

    #[test]
    fn texts_keep_the_wording_that_tools_search_for() {
        let fuel = Exceeded::Fuel(Bound {
            value: 1,
            set_by: SetBy::Component,
        })
        .to_string();
        assert!(fuel.starts_with("Max fuel consumed"), "{fuel}");
        let time = Exceeded::Time(Bound {
            value: Duration::from_secs(1),
            set_by: SetBy::Node,
        })
        .to_string();
        assert!(
            time.starts_with("Time limit exceeded") && time.contains("1 s"),
            "{time}"
        );
    }
}
