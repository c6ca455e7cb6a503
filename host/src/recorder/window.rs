//! The end of a recording's file, mapped into memory: a short block is copied there instead of being written by a call.
//!
//! A call that writes 400 bytes is a twelfth of what carrying a prepared statement costs. What is copied into a shared
//! mapping is in the operating system's hands just the same (it survives the end of this process), so nothing that is
//! promised of a committed block changes. This is the only `unsafe` code of the host: the calls below have no safe
//! form, because others may change a file under its mapping. No reference into the mapping is ever made; it is written
//! through pointers alone, and never read.
//!
//! What may go wrong: a write that fails returns an error, a page that fails (the disk broke, the file was cut)
//! raises SIGBUS, which would end the gateway and every session in it. So [`lost`] puts memory of nobody's in the
//! place of the pages that this thread is writing to, and [`Window::put`] then fails, which ends this one session. systemd's
//! journal does the same (`sigbus.c`). A signal of any other cause goes where it would have gone.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence, fence};

/// Bytes of a window, and what its place in the file is a multiple of: a multiple of every page size (4, 16, 64 KiB).
pub(super) const BYTES: usize = 64 * 1024;
static ZEROS: [u8; BYTES] = [0; BYTES];
/// How much of a block is copied last: its magic, without which it is none ([`super::format::MAGIC`]).
const LAST: usize = 4;

/// Some 64 KiB of a file.
#[derive(Debug)]
pub(super) struct Window {
    start: NonNull<u8>,
    /// Where they begin in the file.
    from: u64,
}

// SAFETY: the mapping belongs to this value alone, and any thread may write to it or unmap it.
unsafe impl Send for Window {}

impl Window {
    /// Maps the window that holds `position`, and fills it with zeros from there: the file is as long as its end from then on.
    ///
    /// # Errors
    /// When the disk is full, the file system maps nothing, or the process has too many mappings. Blocks can be written all
    /// the same, where there is room.
    pub(super) fn open(file: &File, position: u64) -> io::Result<Self> {
        handle_lost_pages()?;
        let used = position % BYTES as u64;
        let from = position - used;
        let offset = libc::off_t::try_from(from).map_err(io::Error::other)?;
        // Zeros that are written find a full disk now, and leave pages in memory that a mapping of unwritten room would have to
        // read one by one.
        let used = usize::try_from(used).unwrap_or_default();
        file.write_all_at(ZEROS.get(used..).unwrap_or_default(), position)?;
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: the kernel chooses the place, so no memory of ours is replaced.
        let start = unsafe { libc::mmap(ptr::null_mut(), BYTES, access, shared, file.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // Saves a fault for each page. Where it is not known (before Linux 5.14), there are faults.
        // SAFETY: it is the mapping that was just made.
        unsafe { libc::madvise(start, BYTES, libc::MADV_POPULATE_WRITE) };
        NonNull::new(start.cast())
            .map(|start| Window { start, from })
            .ok_or(io::ErrorKind::OutOfMemory.into())
    }

    /// Whether `position` lies in this window.
    pub(super) fn holds(&self, position: u64) -> bool {
        (self.from..self.end()).contains(&position)
    }

    /// Where the next one begins in the file.
    pub(super) fn end(&self) -> u64 {
        self.from.saturating_add(BYTES as u64)
    }

    /// Copies a whole block to its place in the file, its magic last. `false`: it does not lie in this window as a whole.
    ///
    /// The end of this process between two instructions keeps every one before, so a block with its magic is all there.
    ///
    /// # Errors
    /// When the pages were lost. Nothing may be put after that.
    pub(super) fn put(&mut self, position: u64, block: &[u8]) -> io::Result<bool> {
        let Some(at) = position.checked_sub(self.from).and_then(|at| usize::try_from(at).ok()) else {
            return Ok(false);
        };
        if at.checked_add(block.len()).is_none_or(|end| end > BYTES) {
            return Ok(false);
        }
        let (magic, rest) = block.split_at(LAST.min(block.len()));
        WRITING.with(|writing| {
            writing.lost.store(false, Ordering::Relaxed);
            writing.start.store(self.start.as_ptr().expose_provenance(), Ordering::Relaxed);
        });
        // SAFETY: `at..at + block.len()` lies in the mapping, which nothing else of ours points to; a page that is gone is
        // replaced by `lost`, which has to find `WRITING` set, hence the fences.
        unsafe {
            compiler_fence(Ordering::SeqCst);
            let to = self.start.as_ptr().add(at);
            ptr::copy_nonoverlapping(rest.as_ptr(), to.add(magic.len()), rest.len());
            fence(Ordering::Release);
            ptr::copy_nonoverlapping(magic.as_ptr(), to, magic.len());
            compiler_fence(Ordering::SeqCst);
        }
        let lost = WRITING.with(|writing| {
            writing.start.store(0, Ordering::Relaxed);
            writing.lost.load(Ordering::Relaxed)
        });
        match lost {
            // Fails closed: what was copied may be in the file or in nobody's memory.
            true => Err(io::Error::other("its file was cut, or the disk failed, while it was written")),
            false => Ok(true),
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this length, and not used after this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), BYTES) };
    }
}

/// The window that this thread is writing to, and whether its pages were lost meanwhile. Atomic, because a signal's handler
/// sets it between two instructions of the same thread, which the compiler must not assume to be impossible.
struct Writing {
    /// 0: it writes to none.
    start: AtomicUsize,
    lost: AtomicBool,
}

thread_local! {
    // Constant and without a destructor: a signal's handler may use it.
    static WRITING: Writing = const { Writing { start: AtomicUsize::new(0), lost: AtomicBool::new(false) } };
}

/// What SIGBUS did before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Sees to it that [`lost`] is called. Once for the process.
fn handle_lost_pages() -> io::Result<()> {
    static HANDLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let handled = HANDLED.get_or_init(|| {
        // SAFETY: zeros are a `sigaction` (the default action); both calls get pointers to whole ones that outlive them. The
        // earlier action is known before the handler that needs it.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            let mut ours: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = lost;
            ours.sa_sigaction = handler as libc::sighandler_t;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            if libc::sigaction(libc::SIGBUS, ptr::null(), &mut before) != 0 {
                return Err(errno());
            }
            let _ = BEFORE.set(before);
            if libc::sigaction(libc::SIGBUS, &ours, ptr::null_mut()) != 0 {
                return Err(errno());
            }
        }
        Ok(())
    });
    handled.map_err(io::Error::from_raw_os_error)
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}

/// SIGBUS: puts memory in the place of the window that this thread is writing to. Calls nothing but what signal-safety(7)
/// allows, and mmap, which is a system call and no more.
extern "C" fn lost(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a whole `siginfo_t`; `errno` is this thread's own. The pages that are replaced are a window
    // that `put` is writing to on this very thread, and that nothing reads.
    unsafe {
        let errno = *libc::__errno_location();
        let (address, sent) = ((*info).si_addr().addr(), (*info).si_code <= 0);
        let writing = WRITING.with(|writing| writing.start.load(Ordering::Relaxed));
        if !sent && writing != 0 && address.wrapping_sub(writing) < BYTES {
            let (access, private) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            );
            let start = ptr::with_exposed_provenance_mut(writing);
            if libc::mmap(start, BYTES, access, private, -1, 0) != libc::MAP_FAILED {
                WRITING.with(|writing| writing.lost.store(true, Ordering::Relaxed));
                *libc::__errno_location() = errno;
                return;
            }
        }
        // Not ours: as if this had never been here. What faulted faults again, and what was sent is sent again.
        if let Some(before) = BEFORE.get() {
            libc::sigaction(signal, before, ptr::null_mut());
        }
        if sent {
            libc::raise(signal);
        }
        *libc::__errno_location() = errno;
    }
}
