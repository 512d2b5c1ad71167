//! Memory that the members of a team write together: aligned, zeroed, and kept for the next batch.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A cache line, and the width of a register.
const ALIGNMENT: usize = 64;
/// Bytes behind the end that may be read: kernels read whole registers.
const SLACK_BYTES: usize = 512;

/// `len` numbers of `T`, whose all-zero bytes are a value. Its owner says who writes where.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    start: NonNull<u8>,
    len: usize,
    element: PhantomData<T>,
}

// SAFETY: a buffer owns its memory like a `Vec`; sharing one gives out raw pointers only.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: as above; every access through the pointers is an unsafe block with its own reason.
unsafe impl<T: Sync> Sync for Buffer<T> {}

impl<T: Copy> Buffer<T> {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout's size is not 0, thanks to the slack.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        Self { start, len, element: PhantomData }
    }

    /// A copy of `numbers`.
    pub(crate) fn from_slice(numbers: &[T]) -> Self {
        let mut buffer = Self::zeroed(numbers.len());
        buffer.as_mut_slice().copy_from_slice(numbers);
        buffer
    }

    /// Makes room for at least `len` numbers; what was there is lost where it grows.
    pub(crate) fn reserve(&mut self, len: usize) {
        if self.len < len {
            *self = Self::zeroed(len.next_multiple_of(4_096));
        }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: the memory holds `len` initialised numbers, and nobody writes while a slice is borrowed: kernels run
        // inside calls that borrow the owner mutably.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len) }
    }

    /// Where the numbers lie. Reading [`SLACK_BYTES`] behind the end is allowed.
    pub(crate) fn pointer(&self) -> *mut T {
        self.start.as_ptr().cast()
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(SLACK_BYTES));
        let layout = bytes.and_then(|bytes| Layout::from_size_align(bytes, ALIGNMENT).ok());
        layout.expect("a buffer of the encoder fits the address space")
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let layout = Layout::from_size_align(self.len * size_of::<T>() + SLACK_BYTES, ALIGNMENT);
        // SAFETY: the same size and alignment as in `zeroed`, which computed them without overflow.
        unsafe { dealloc(self.start.as_ptr(), layout.unwrap_unchecked()) }
    }
}
