//! Host patterns of service documents, and the URLs of guests.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wavs_engine::fuzzing::patterns(bytes));
