//! Asks the processor for memory that will be needed soon. Nothing but time changes by it.
//!
//! A server keeps some 100 kB of each receiver and goes from one to the next, so that what it needs of one is in no cache
//! when its turn comes, and neither is where that is (the TLB). Read one after another, these lines cost a fetch from memory
//! each; asked for while the receiver before is worked with, they come meanwhile, several at a time.
//!
//! On processors other than x86-64 and AArch64 nothing is done.

#![no_std]

/// The bytes that caches fetch together, on x86-64 and most of AArch64.
const LINE: usize = 64;

/// Asks for a value as it lies in memory, without what it points to.
#[inline]
pub fn value<T: ?Sized>(value: &T) {
    bytes(core::ptr::from_ref(value).cast(), size_of_val(value));
}

/// Asks for the first values of a slice. A few dozen lines are as much as a processor fetches at a time.
#[inline]
pub fn first<T>(most: usize, values: &[T]) {
    value(&values[..values.len().min(most)]);
}

/// Asks for the last values of a slice.
#[inline]
pub fn last<T>(most: usize, values: &[T]) {
    value(&values[values.len().saturating_sub(most)..]);
}

#[inline]
fn bytes(start: *const u8, length: usize) {
    let Some(last) = length.checked_sub(1) else { return };
    for offset in (0..length).step_by(LINE) {
        line(start.wrapping_add(offset));
    }
    // It may begin amid a line, and so end in one more.
    line(start.wrapping_add(last));
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(unsafe_code, reason = "the hint takes a pointer")]
fn line(address: *const u8) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint reads nothing and never faults, whatever the address (Intel SDM volume 2, PREFETCHh).
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

#[cfg(target_arch = "aarch64")]
#[inline]
#[expect(unsafe_code, reason = "the hint has no other form")]
fn line(address: *const u8) {
    // SAFETY: a hint reads nothing and never faults, whatever the address (Arm ARM, PRFM).
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, readonly, preserves_flags));
    };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
fn line(_address: *const u8) {}

#[cfg(test)]
mod tests {
    #[test]
    fn anything_may_be_asked_for_and_nothing_changes() {
        let values = [7_u64; 100];
        super::value(&values);
        super::first(3, &values);
        super::last(3, &values);
        super::last(300, &values);
        super::first::<u64>(1, &[]);
        super::value(&());
        // A dangling pointer, which an empty vector is.
        super::bytes(core::ptr::dangling(), 1000);
        super::bytes(core::ptr::null(), usize::from(u16::MAX));
        assert_eq!(values, [7; 100]);
    }
}
