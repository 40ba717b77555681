//! What one run may use.
//!
//! The effective limit is the smaller of the component's own value and the cap of the node (or of the operator's grant
//! to the service, which replaces the node's). The texts of exceeded limits name the value and who set it.
//!
//! What an operator may want more or less of is configuration ([`GuestLimits`]). A constant is what nobody gains from changing:
//! it keeps what the implementation holds for a run in proportion (HTTP messages, directory lists, random bytes, the text of an
//! error), or is part of a format that all operators of a service share (salts, the fuel of deterministic runs). Those of
//! key-value data and name look-ups are beside what they bound.

use std::fmt;
use std::time::Duration;

use wavs_service::config::GuestLimits;
use wavs_types::Component;

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
/// Directories of one service below one another; a run that finds or makes deeper ones is a limit error.
pub(crate) const SERVICE_DEPTH: usize = 256;
/// Bytes of one request for randomness; more are a limit error.
pub(crate) const RANDOM_BYTES: u64 = 1 << 20;
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
    /// What no component or grant can change.
    pub guest: GuestLimits,
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
    pub(crate) guest: GuestLimits,
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
            guest: self.guest,
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
        "Memory limit exceeded: the run asked for {asked} bytes of linear memory, and this node allows {limit} (engine.guest_memory_mb, or what one run can have of process.engine.memory_max_mb); use less memory"
    )]
    Memory { asked: usize, limit: usize },
    #[error(
        "Stack limit exceeded: the calls of the run need more than {limit} bytes of stack, which engine.stack_kb of this node allows; nest calls less deeply"
    )]
    Stack { limit: usize },
    #[error(
        "Table limit exceeded: the run asked for a table of {asked} elements, and engine.table_elements of this node allows {limit}; use smaller tables"
    )]
    Table { asked: usize, limit: usize },
    #[error(
        "Instance limit exceeded: {cause}; this node allows {core_instances} core instances (engine.core_instances), {memories} memories (engine.memories) and {tables} tables (engine.tables) of one component; use fewer"
    )]
    Objects {
        cause: String,
        core_instances: u32,
        memories: u32,
        tables: u32,
    },
    #[error(
        "Host call limit exceeded: one call to the host, or the result, carries more than {limit} bytes, which engine.hostcall_mb of this node allows; pass less at a time"
    )]
    HostCall { limit: usize },
    #[error(
        "Handle limit exceeded: the run holds more than {limit} resources, which engine.handles of this node allows; drop what is no longer needed"
    )]
    Handles { limit: usize },
    #[error(
        "Handle limit exceeded: the run holds {limit} {what} already, the most on any node; drop what is no longer needed"
    )]
    Held { what: &'static str, limit: usize },
    #[error(
        "Header limit exceeded: the headers of an HTTP message have more than {limit} bytes, which engine.http_headers_kb of this node allows; send less in headers"
    )]
    Headers { limit: usize },
    #[error(
        "Random limit exceeded: one call asked for more than {RANDOM_BYTES} random bytes, the most on any node; ask for less at a time"
    )]
    Random,
    #[error(
        "File limit exceeded: the files of the service come to {asked} bytes, above {limit}, which engine.files_mb_per_service of this node allows; delete what is no longer needed"
    )]
    FileBytes { asked: u64, limit: u64 },
    #[error(
        "File limit exceeded: the service has more than {limit} files and directories, which engine.files_per_service of this node allows; delete what is no longer needed"
    )]
    FileCount { limit: u64 },
    #[error(
        "File limit exceeded: directories of the service are nested deeper than {SERVICE_DEPTH}, the most on any node; nest them less, and have the operator remove those that are too deep"
    )]
    FileDepth,
    #[error("Result limit exceeded: {what} {asked} is above {limit}, which {key} of this node allows; return less")]
    Result {
        what: &'static str,
        asked: usize,
        limit: usize,
        key: &'static str,
    },
    #[error(
        "Result limit exceeded: an event id salt of {asked} bytes is longer than {SALT_BYTES}, the most on any node; use a shorter one, such as a hash"
    )]
    Salt { asked: usize },
}

#[cfg(test)]
mod tests {
    use wavs_service::config::keys::KEYS;

    use super::*;

    fn caps() -> Caps {
        Caps {
            max_fuel: NO_FUEL_CAP,
            max_seconds: 300,
            hard_seconds: 3600,
            guest: GuestLimits::default(),
        }
    }

    fn check(fuel: Option<u64>, seconds: Option<u64>, grant: CapGrant, expect: (Option<(u64, SetBy)>, (u64, SetBy))) {
        let component = crate::testing::component(fuel, seconds);
        let limits = caps().effective(&component, grant, false);
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
            ..caps()
        };
        let limits = endless.effective(&crate::testing::component(None, Some(u64::MAX)), none, false);
        assert_eq!(limits.time.value.as_secs(), LONGEST_SECONDS);
        check(None, None, grant(Some(5), Some(2)), (Some((5, Grant)), (2, Grant)));
        let fuel = |own| {
            caps()
                .effective(&crate::testing::component(own, None), none, true)
                .fuel
                .unwrap()
        };
        assert_eq!(
            (fuel(None).value, fuel(None).set_by),
            (DETERMINISTIC_FUEL, SetBy::Determinism)
        );
        assert_eq!((fuel(Some(7)).value, fuel(Some(7)).set_by), (7, Component));
    }

    /// Whoever meets a limit can tell what raises it, and what is in force.
    #[test]
    fn every_text_names_a_key_that_exists_and_the_value() {
        const VALUE: usize = 4_711;
        let result = |key| Exceeded::Result {
            what: "number of responses",
            asked: 9_999,
            limit: VALUE,
            key,
        };
        let objects = Exceeded::Objects {
            cause: "too many".to_owned(),
            core_instances: 4_711,
            memories: 4_711,
            tables: 4_711,
        };
        for exceeded in [
            Exceeded::Memory { asked: 1, limit: VALUE },
            Exceeded::Stack { limit: VALUE },
            Exceeded::Table { asked: 1, limit: VALUE },
            objects,
            Exceeded::HostCall { limit: VALUE },
            Exceeded::Handles { limit: VALUE },
            Exceeded::Headers { limit: VALUE },
            Exceeded::FileBytes { asked: 1, limit: 4_711 },
            Exceeded::FileCount { limit: 4_711 },
            result("engine.results"),
            result("engine.response_max_mb"),
        ] {
            let text = exceeded.to_string();
            let named: Vec<_> = text
                .split(|character: char| !character.is_ascii_alphanumeric() && !"._".contains(character))
                .filter(|word| word.starts_with("engine."))
                .collect();
            assert!(!named.is_empty() && text.contains("4711"), "{text}");
            for key in named {
                assert!(KEYS.iter().any(|known| known.path == key), "{key}: {text}");
            }
            assert!(text.contains(" limit exceeded: ") && text.contains("; "), "{text}");
        }
        for fixed in [
            Exceeded::Held {
                what: "HTTP bodies",
                limit: BODIES,
            },
            Exceeded::FileDepth,
            Exceeded::Salt { asked: 2_000 },
            Exceeded::Random,
        ] {
            let text = fixed.to_string();
            assert!(text.contains("the most on any node; "), "{text}");
        }
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
