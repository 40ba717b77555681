//! Mapping compiled code into this process: the one place of the crate with `unsafe`.

#![allow(unsafe_code)]

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Verified;

/// Maps the file of `code`, whose pages are read when they are needed.
///
/// # Errors
/// When the file is not code of this engine.
pub(super) fn map(engine: &Engine, code: &Verified) -> wasmtime::Result<Component> {
    let path: &Path = code.path();
    // SAFETY: wasmtime trusts the file to be code that a compatible engine produced and that does not change. A `Verified`
    // exists only for a file whose MAC was just checked, over its name and all of its bytes, with a key that only this
    // installation has; the name carries the fingerprint of the engine. The directory is private to this user, files in it
    // are complete before they get their name and are never written again.
    unsafe { Component::deserialize_file(engine, path) }
}
