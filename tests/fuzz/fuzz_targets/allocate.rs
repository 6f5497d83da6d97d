//! See `weir_fuzz::allocate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::allocate(data));
