//! What a guest returns on its way to a result.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wavs_engine::fuzzing::results(bytes));
