//! What a badly written or hostile component would do.

use std::fmt::Debug;
use std::hint::black_box;

use operator_kit::wavs_types::core::LogLevel;
use operator_kit::{TriggerAction, WasmResponse, host, output};

/// Bytes that the memory bomb takes at a time.
const BITE: usize = 1024 * 1024;

/// Do what `wish` names, with an argument behind a colon where one is needed:
///
/// | wish | effect |
/// |---|---|
/// | `fail:TEXT` | returns that error |
/// | `trap` | executes `unreachable` |
/// | `loop` | never returns, never calls the host |
/// | `memory` | allocates until it is stopped |
/// | `stack` | recurses until it is stopped |
/// | `logs:N` | writes N log lines, then succeeds |
/// | `stdout:TEXT` | prints that text and a newline |
/// | `payload:N` | returns N bytes |
/// | `responses:N` | returns N responses with different salts |
/// | `none` | returns an empty list |
/// | `event-id` | returns the event id that the host computes |
/// | `salted-event-id:TEXT` | the same with that salt, which may be empty |
/// | `evm-chain:KEY`, `cosmos-chain:KEY` | returns what the host tells of that chain as text |
/// | `describe` | returns the input, the service and the workflow as text |
pub fn perform(wish: &str, action: &TriggerAction) -> Result<Vec<WasmResponse>, String> {
    let (verb, argument) = wish.split_once(':').unwrap_or((wish, ""));
    let number = || {
        argument
            .parse::<u32>()
            .map_err(|_| format!("{verb} needs a number, not {argument:?}"))
    };
    match verb {
        "fail" => Err(argument.to_owned()),
        "trap" => trap(),
        "loop" => loop {
            black_box(());
        },
        "memory" => devour(),
        "stack" => Ok(vec![output::response(descend(1).to_string().into_bytes())]),
        "logs" => {
            for line in 0..number()? {
                host::log(LogLevel::Info, &format!("line {line} of the flood"));
            }
            Ok(vec![output::response(b"logged".to_vec())])
        }
        "stdout" => {
            let line = format!("{argument}\n");
            let stdout = wasip2::cli::stdout::get_stdout();
            stdout
                .blocking_write_and_flush(line.as_bytes())
                .map_err(|error| format!("stdout: {error:?}"))?;
            Ok(vec![output::response(b"printed".to_vec())])
        }
        "payload" => Ok(vec![output::response(vec![b'x'; number()? as usize])]),
        "responses" => Ok((0..number()?)
            .map(|index| WasmResponse {
                event_id_salt: Some(index.to_be_bytes().to_vec()),
                ..output::response(index.to_string().into_bytes())
            })
            .collect()),
        "none" => Ok(Vec::new()),
        "event-id" => Ok(vec![output::response(host::get_event_id(None))]),
        "salted-event-id" => Ok(vec![output::response(host::get_event_id(Some(argument.as_bytes())))]),
        "evm-chain" => Ok(vec![text(&host::get_evm_chain_config(argument))]),
        "cosmos-chain" => Ok(vec![text(&host::get_cosmos_chain_config(argument))]),
        "describe" => {
            let text = format!("{action:?}\n{:?}\n{:?}", host::get_service(), host::get_workflow());
            Ok(vec![output::response(text.into_bytes())])
        }
        _ => Err(format!("cannot do {wish:?}")),
    }
}

fn text(value: &impl Debug) -> WasmResponse {
    output::response(format!("{value:?}").into_bytes())
}

#[cfg(target_arch = "wasm32")]
fn trap() -> ! {
    std::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn trap() -> ! {
    panic!("trapped")
}

/// The bytes are written, so that the host must really provide them.
fn devour() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![0xaa_u8; BITE]));
    }
}

/// Never gets to the end that keeps the compiler from seeing an endless recursion.
fn descend(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX {
        return 0;
    }
    let frame = black_box([depth; 64]);
    black_box(descend(depth + 1)) + frame[0]
}
