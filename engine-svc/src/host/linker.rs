//! What the host gives to guests in place of the library's own functions, and beside them.

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};

use super::state::GuestState;
use super::{held, names, sockets};
use crate::bindings::operator::wasi::keyvalue;

/// Adds what both worlds share.
///
/// # Errors
/// When two interfaces collide, which is a bug of this crate.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    let mut tls = wasmtime_wasi_tls::p2::LinkOptions::default();
    tls.tls(true);
    wasmtime_wasi_tls::p2::add_to_linker(linker, &tls)?;
    keyvalue::store::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    keyvalue::atomics::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    keyvalue::batch::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    // The library's own do not count what a run holds, know no clock but the machine's, and let services wait for each other's
    // names.
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    tcp_create_socket::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    udp_create_socket::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    sockets::add_to_linker(linker)?;
    held::add_to_linker(linker)?;
    names::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
