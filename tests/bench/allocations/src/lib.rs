//! Loaded before a program (`LD_PRELOAD`), counts what it allocates: two numbers of eight bytes, the calls and the bytes
//! they asked for, at the beginning of the file that `TAMIS_ALLOCATIONS` names. Whoever reads the file sees them grow.
//!
//! For glibc, whose own functions stay reachable under the names that begin with `__libc_`.
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
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    // SAFETY: the name ends in a zero.
    let path = unsafe { libc::getenv(c"TAMIS_ALLOCATIONS".as_ptr()) };
    if path.is_null() {
        return;
    }
    // SAFETY: `path` is a string of the environment, which nothing changes yet.
    let file = unsafe { libc::open(path, libc::O_RDWR | libc::O_CLOEXEC) };
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
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    count(size);
    // SAFETY: the caller's obligations are the same.
    unsafe { __libc_malloc(size) }
}

/// calloc(3).
///
/// # Safety
/// As calloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(members: usize, size: usize) -> *mut c_void {
    count(members.saturating_mul(size));
    // SAFETY: the caller's obligations are the same.
    unsafe { __libc_calloc(members, size) }
}

/// realloc(3).
///
/// # Safety
/// As realloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(old: *mut c_void, size: usize) -> *mut c_void {
    count(size);
    // SAFETY: the caller's obligations are the same.
    unsafe { __libc_realloc(old, size) }
}

/// posix_memalign(3).
///
/// # Safety
/// As posix_memalign(3).
#[unsafe(no_mangle)]
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
