//! Rust types and call stubs for both component worlds, generated from the WIT packages of the repository.
//!
//! The aggregator world reuses the types of the operator world, so that conversions and the key-value store are written
//! once. `host` functions are plain; key-value functions are async, because they wait for the disk.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

/// `wavs:operator/wavs-world`.
pub(crate) mod operator {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "wavs:operator/wavs-world@2.6.0",
        imports: {
            "wasi:keyvalue": async | trappable,
        },
        exports: { default: async },
        with: {
            "wasi:keyvalue/store.bucket": crate::host::keyvalue::Bucket,
            "wasi:keyvalue/atomics.cas": crate::host::keyvalue::Cas,
        },
    });
}

/// `wavs:aggregator/aggregator-world`.
pub(crate) mod aggregator {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "wavs:aggregator/aggregator-world@2.6.0",
        exports: { default: async },
        with: {
            "wavs:types": crate::bindings::operator::wavs::types,
            "wavs:operator": crate::bindings::operator::wavs::operator,
            "wasi:keyvalue": crate::bindings::operator::wasi::keyvalue,
        },
    });
}
