//! Why a run failed, and who is to blame: the guest, a limit, or this machine.

use wasmtime::{FrameInfo, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::{I32Exit, ResourceTableError};
use wasmtime_wasi_http::FieldMapError;
use wavs_ipc::contract::job::{GuestError, GuestErrorClass};

use crate::host::{Crowded, FileFault, GuestState, HostFault, ResultError, printable};
use crate::kv::KvError;
use crate::limits::{ERROR_TEXT_BYTES, Exceeded, RunLimits};

/// Functions of a trap's backtrace that the text names.
const FRAMES: usize = 5;

/// The time of a run is up.
#[derive(Debug, thiserror::Error)]
#[error("the time of the run is up")]
pub(crate) struct TimeUp;

/// The failure of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What the guest did wrong; a result of the run.
    Guest(GuestError),
    /// What this machine did wrong; the run may be repeated.
    Host(String),
    /// Another run was faster, or has what this one wants; it is to be repeated, as often as it takes.
    Conflict(String),
}

impl Failure {
    /// Judges an error that ended instantiation or the call.
    pub(crate) fn of(cause: &wasmtime::Error, state: &GuestState, limits: &RunLimits) -> Self {
        if let Some(fault) = cause.downcast_ref::<HostFault>() {
            return Self::Host(fault.to_string());
        }
        if let Some(crowded) = cause.downcast_ref::<Crowded>() {
            return Self::Conflict(crowded.to_string());
        }
        if cause.is::<PoolConcurrencyLimitError>() {
            return Self::Host(format!("the instance pool is exhausted: {cause:#}"));
        }
        if cause.is::<TimeUp>() {
            return Exceeded::Time(limits.time).into();
        }
        if let Some(exceeded) = cause.downcast_ref::<Exceeded>() {
            return exceeded.clone().into();
        }
        if matches!(
            cause.downcast_ref::<ResourceTableError>(),
            Some(ResourceTableError::Full)
        ) {
            return Exceeded::Handles {
                limit: limits.guest.handles,
            }
            .into();
        }
        if matches!(
            cause.downcast_ref::<FieldMapError>(),
            Some(FieldMapError::TotalSizeTooBig)
        ) {
            return Exceeded::Headers {
                limit: limits.guest.http_headers,
            }
            .into();
        }
        if let Some(exit) = cause.downcast_ref::<I32Exit>() {
            return Self::fault(format!(
                "the component exited with status {} instead of returning; return a result",
                exit.0
            ));
        }
        match (cause.downcast_ref::<Trap>(), limits.fuel) {
            (Some(Trap::OutOfFuel), Some(fuel)) => return Exceeded::Fuel(fuel).into(),
            (Some(Trap::StackOverflow), _) => {
                return Exceeded::Stack {
                    limit: limits.guest.stack,
                }
                .into();
            }
            _ => {}
        }
        // The root says what happened; the contexts around it are the backtrace.
        let root = cause.root_cause().to_string();
        if let Some(refused) = state.limiter.refused()
            && ends_for_want_of_memory(cause, &root)
        {
            return refused.clone().into();
        }
        if root.contains("fuel allocated for hostcalls has been exhausted") {
            return Exceeded::HostCall {
                limit: limits.guest.hostcall,
            }
            .into();
        }
        if root.contains("store handle limit exceeded") {
            return Exceeded::Handles {
                limit: limits.guest.handles,
            }
            .into();
        }
        if root.starts_with("requested len ") {
            return Exceeded::Random.into();
        }
        if root.starts_with("resource limit exceeded") {
            return Exceeded::Objects {
                cause: root,
                core_instances: limits.guest.core_instances,
                memories: limits.guest.memories,
                tables: limits.guest.tables,
            }
            .into();
        }
        Self::fault(format!("the component trapped: {root}{}", location(cause)))
    }

    /// The export returned an error.
    pub(crate) fn returned(text: &str) -> Self {
        Self::fault(format!("the component returned an error: {text}"))
    }

    fn fault(text: String) -> Self {
        Self::Guest(GuestError {
            class: GuestErrorClass::Fault,
            detail: cut(&text),
        })
    }
}

impl From<Exceeded> for Failure {
    fn from(exceeded: Exceeded) -> Self {
        Self::Guest(GuestError {
            class: GuestErrorClass::Limit,
            detail: exceeded.to_string(),
        })
    }
}

impl From<FileFault> for Failure {
    fn from(fault: FileFault) -> Self {
        match fault {
            FileFault::Exceeded(exceeded) => exceeded.into(),
            FileFault::Uncounted(cause) => Self::Host(format!(
                "cannot count the files of the service: {cause}; check the directory engine/app of this node"
            )),
        }
    }
}

impl From<KvError> for Failure {
    fn from(cause: KvError) -> Self {
        match cause {
            KvError::Conflict { .. } => Self::Conflict(cause.to_string()),
            cause if cause.is_guest() => Self::Guest(GuestError {
                class: GuestErrorClass::Limit,
                detail: cause.to_string(),
            }),
            cause => Self::Host(cause.to_string()),
        }
    }
}

impl From<ResultError> for Failure {
    fn from(cause: ResultError) -> Self {
        match cause {
            ResultError::Malformed(text) => Self::fault(text),
            ResultError::Exceeded(exceeded) => exceeded.into(),
        }
    }
}

/// Whether a guest that was refused memory or a table may have ended because of that: the refusal is then what people need to know.
/// One that coped and does something else wrong later is told that.
fn ends_for_want_of_memory(cause: &wasmtime::Error, root: &str) -> bool {
    match cause.downcast_ref::<Trap>() {
        // The way out of allocators.
        Some(trap) => matches!(trap, Trap::UnreachableCodeReached | Trap::AllocationTooLarge),
        // What a module begins with is refused by an error, and an allocator that does not notice returns what is not there.
        None => {
            root.contains("exceeds memory limits")
                || root.contains("exceeds table limits")
                || root.starts_with("realloc return")
        }
    }
}

/// The innermost functions of a trap, where the component kept their names.
fn location(cause: &wasmtime::Error) -> String {
    let Some(backtrace) = cause.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let names = backtrace
        .frames()
        .iter()
        .take(FRAMES)
        .filter_map(FrameInfo::func_name)
        .collect::<Vec<_>>();
    if names.is_empty() {
        String::new()
    } else {
        format!(", in {}", names.join(" < "))
    }
}

/// At most [`ERROR_TEXT_BYTES`] of a text that may come from a guest, without control characters.
fn cut(text: &str) -> String {
    printable(text.as_bytes(), ERROR_TEXT_BYTES)
}
