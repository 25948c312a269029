//! See `proxy_server::fuzzing::listener`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy_server::fuzzing::listener(data));
