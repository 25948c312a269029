//! See `proxy_haproxy::fuzzing::answers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy_haproxy::fuzzing::answers(data));
