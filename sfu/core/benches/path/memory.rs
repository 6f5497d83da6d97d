//! Counts what is allocated while the shard works, and not what its clients take.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

static COUNTING: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Runs code whose allocations count.
pub fn counted<T>(work: impl FnOnce() -> T) -> T {
    COUNTING.store(true, Relaxed);
    let result = work();
    COUNTING.store(false, Relaxed);
    result
}

/// Runs code within counted code whose allocations do not count.
pub fn uncounted(work: impl FnOnce()) {
    let before = COUNTING.swap(false, Relaxed);
    work();
    COUNTING.store(before, Relaxed);
}

/// Bytes that counted code has allocated and not freed.
pub fn bytes() -> i64 {
    BYTES.load(Relaxed)
}

/// How often counted code has allocated so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

pub struct Counting;

fn count(bytes: i64, allocations: u64) {
    if COUNTING.load(Relaxed) {
        BYTES.fetch_add(bytes, Relaxed);
        ALLOCATIONS.fetch_add(allocations, Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; it only counts, and hands all on to the system's")]
// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64, 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
