//! See `fuzz_targets::consul`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::consul(data));
