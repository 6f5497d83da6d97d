//! Fixes the order of every `HashMap` in this program, so that a run can be repeated.
//!
//! Include this file (`#[path]`) in a program that runs simulations, and in no other. The standard library asks the
//! system for random bytes once per thread, to order its hash maps by; str0m walks such maps when it sends, so the order
//! of packets would hang on them. The library finds the function of this name in the program before that of the C
//! library. Cryptography does not come this way: AWS-LC makes the system call itself.

#![expect(unsafe_code, reason = "a symbol that the standard library links to, and a buffer of the caller's")]

/// Stands for the C library's function: the same bytes for everyone.
///
/// # Safety
/// As `getrandom(2)`: `buffer` must be valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: the caller gives a buffer of that length.
    unsafe { std::ptr::write_bytes(buffer, 0x5a, length) };
    length.cast_signed()
}
