//! Loaded before a program (`LD_PRELOAD`), counts what it allocates: two numbers of eight bytes, the calls and the bytes
//! they asked for, at the beginning of the file that `TAMIS_ALLOCATIONS` names. Whoever reads the file sees them grow.
//!
//! For glibc, whose own functions stay reachable under the names that begin with `__libc_`.
//!
//! Invariants: each function passes its arguments on unchanged and returns what the C library returned, so memory of ours and of
//! the C library is the same memory, and `free` needs no other function. `COUNTS` is null, or the start of a shared mapping of
//! `Counts` that is never removed. A test calls each function with any sizes and alignments; under test they have names of
//! their own, and the program keeps its allocator.
#![expect(unsafe_code, reason = "it stands in for the C library's allocator")]

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
}

/// Calls, then bytes.
#[repr(C)]
struct Counts {
    calls: AtomicU64,
    bytes: AtomicU64,
}

/// The beginning of the file; null before it is mapped, and without one.
static COUNTS: AtomicPtr<Counts> = AtomicPtr::new(ptr::null_mut());

/// Maps the file before the program begins.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

#[cfg(not(test))]
extern "C" fn begin() {
    // SAFETY: the name ends in a zero.
    let path = unsafe { libc::getenv(c"TAMIS_ALLOCATIONS".as_ptr()) };
    if !path.is_null() {
        // SAFETY: `path` is a string of the environment, which nothing changes yet.
        count_into(unsafe { core::ffi::CStr::from_ptr(path) });
    }
}

/// Counts into that file from now on; nowhere if it cannot be mapped. The file is as long as [`Counts`].
fn count_into(path: &core::ffi::CStr) {
    // SAFETY: `path` ends in a zero.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if file < 0 {
        return;
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping touches no memory of the program. The caller made the file long enough.
    let start = unsafe {
        libc::mmap(ptr::null_mut(), size_of::<Counts>(), access, libc::MAP_SHARED, file, 0)
    };
    if start != libc::MAP_FAILED {
        COUNTS.store(start.cast(), Ordering::Release);
    }
}

fn count(bytes: usize) {
    let counts = COUNTS.load(Ordering::Acquire);
    // SAFETY: null, or the start of a mapping that is as long as `Counts`, aligned to a page, and never removed.
    if let Some(counts) = unsafe { counts.as_ref() } {
        counts.calls.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// malloc(3).
///
/// # Safety
/// As malloc(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    count(size);
    // SAFETY: the caller's obligations are the same.
    unsafe { __libc_malloc(size) }
}

/// calloc(3).
///
/// # Safety
/// As calloc(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn calloc(members: usize, size: usize) -> *mut c_void {
    count(members.saturating_mul(size));
    // SAFETY: the caller's obligations are the same.
    unsafe { __libc_calloc(members, size) }
}

/// realloc(3).
///
/// # Safety
/// As realloc(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn realloc(old: *mut c_void, size: usize) -> *mut c_void {
    count(size);
    // SAFETY: the caller's obligations are the same.
    unsafe { __libc_realloc(old, size) }
}

/// posix_memalign(3).
///
/// # Safety
/// As posix_memalign(3).
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    count(size);
    // SAFETY: the caller's obligations are the same.
    let made = unsafe { __libc_memalign(align, size) };
    if made.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller passed a place for the result.
    unsafe { out.write(made) };
    0
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use proptest::prelude::*;

    use super::*;

    /// Fills memory and checks what it holds.
    fn use_it(start: *mut c_void, size: usize, octet: u8) -> bool {
        // SAFETY: the caller received `size` bytes at `start` and has not freed them.
        let octets = unsafe { core::slice::from_raw_parts_mut(start.cast::<u8>(), size) };
        octets.fill(octet);
        octets.iter().all(|it| *it == octet)
    }

    proptest! {
        #[test]
        fn memory_is_what_was_asked_for_whatever_the_size(
            size in 1_usize..100_000, more in 1_usize..100_000, align in 3_u32..13, members in 1_usize..64,
        ) {
            // SAFETY: malloc(3) takes any size.
            let first = unsafe { malloc(size) };
            prop_assert!(use_it(first, size, 7));
            // SAFETY: `first` was returned by malloc and is not used after this.
            let grown = unsafe { realloc(first, size + more) };
            // SAFETY: realloc(3) keeps the bytes of before.
            let kept = unsafe { core::slice::from_raw_parts(grown.cast::<u8>(), size) };
            prop_assert!(kept.iter().all(|it| *it == 7));
            prop_assert!(use_it(grown, size + more, 9));
            // SAFETY: `grown` was returned by realloc and is not used after this.
            unsafe { libc::free(grown) };
            // SAFETY: calloc(3) takes any count and size.
            let zero = unsafe { calloc(members, size) };
            // SAFETY: calloc(3) returned so many bytes, all zero.
            let octets = unsafe { core::slice::from_raw_parts(zero.cast::<u8>(), members * size) };
            prop_assert!(octets.iter().all(|it| *it == 0));
            // SAFETY: `zero` was returned by calloc and is not used after this.
            unsafe { libc::free(zero) };
            let mut aligned = ptr::null_mut();
            // SAFETY: the alignment is a power of two and a multiple of a pointer's size; `aligned` is a place for the result.
            let made = unsafe { posix_memalign(&raw mut aligned, 1 << align, size) };
            prop_assert_eq!((made, aligned.addr() % (1 << align)), (0, 0));
            prop_assert!(use_it(aligned, size, 3));
            // SAFETY: `aligned` was returned by posix_memalign and is not used after this.
            unsafe { libc::free(aligned) };
        }
    }

    #[test]
    fn what_is_allocated_is_read_in_the_file() {
        let path = std::env::temp_dir().join(format!("tamis-allocations-{}", std::process::id()));
        std::fs::write(&path, [0; size_of::<Counts>()]).unwrap();
        count_into(&CString::new(path.to_str().unwrap()).unwrap());
        let read = || {
            let octets = std::fs::read(&path).unwrap();
            let number = |at: usize| u64::from_ne_bytes(octets[at..at + 8].try_into().unwrap());
            (number(0), number(8))
        };
        let (calls, bytes) = read();
        count(100);
        let (calls_then, bytes_then) = read();
        // The other test counts here too.
        assert!(calls_then > calls && bytes_then >= bytes + 100);
        std::fs::remove_file(&path).unwrap();
        count_into(c"/nowhere/at/all");
        count(1);
    }
}
