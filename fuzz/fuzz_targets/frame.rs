//! Bytes of a peer on their way to a request.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wavs_ipc::fuzzing::frame(bytes));
