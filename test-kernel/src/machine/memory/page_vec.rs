//! A list in pages of its own, for what is too large for a stack.

#![expect(unsafe_code, reason = "keeps values in pages of physical memory")]

use super::frames::{self, PAGE};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A list with room for a fixed number of values. Its pages are never given back.
#[derive(Debug)]
pub(crate) struct PageVec<T> {
    base: NonNull<T>,
    capacity: usize,
    len: usize,
}

impl<T> PageVec<T> {
    /// An empty list with room for `capacity` values; `None` without memory.
    pub(crate) fn with_capacity(capacity: usize) -> Option<Self> {
        const { assert!(align_of::<T>() as u64 <= PAGE) };
        let bytes = capacity.checked_mul(size_of::<T>())? as u64;
        let base = frames::allocate(bytes.div_ceil(PAGE).max(1))?.cast();
        Some(Self { base, capacity, len: 0 })
    }

    /// Puts a value at the end.
    ///
    /// # Panics
    /// If the list is full.
    pub(crate) fn push(&mut self, value: T) {
        assert!(self.len < self.capacity, "a list of {} is full", self.capacity);
        // SAFETY: the place is in the pages, which have room for `capacity` values and are ours alone.
        let place = unsafe { self.base.add(self.len) };
        // SAFETY: as above; nothing is there that would have to be dropped.
        unsafe { place.write(value) };
        self.len += 1;
    }

    /// Takes the value at the end.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: a value lies there, which is no longer counted.
        Some(unsafe { self.take(self.len) })
    }

    /// Drops all values.
    pub(crate) fn clear(&mut self) {
        drop(self.drain(self.len));
    }

    /// Takes the first `count` values, in order; those behind them move up when the iterator is dropped.
    pub(crate) fn drain(&mut self, count: usize) -> Drain<'_, T> {
        let (len, end) = (self.len, count.min(self.len));
        // Whatever becomes of the iterator, nothing is there twice.
        self.len = 0;
        Drain { list: self, next: 0, end, len }
    }

    /// # Safety
    /// A value lies at `index`, and nobody takes it again.
    unsafe fn take(&self, index: usize) -> T {
        // SAFETY: in the pages, as the caller promises.
        let place = unsafe { self.base.add(index) };
        // SAFETY: the caller's promise.
        unsafe { place.read() }
    }
}

impl<T> Extend<T> for PageVec<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

impl<T> Deref for PageVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many values lie at the start of the pages.
        unsafe { NonNull::slice_from_raw_parts(self.base, self.len).as_ref() }
    }
}

impl<T> DerefMut for PageVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; the list is borrowed as a whole.
        unsafe { NonNull::slice_from_raw_parts(self.base, self.len).as_mut() }
    }
}

impl<T> Drop for PageVec<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The first values of a list, taken out of it.
pub(crate) struct Drain<'a, T> {
    list: &'a mut PageVec<T>,
    next: usize,
    /// The first that stays, and behind the last of all.
    end: usize,
    len: usize,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        // SAFETY: a value that has not been taken; the list has counted none since the iterator was made.
        Some(unsafe { self.list.take(self.next - 1) })
    }
}

impl<T> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        self.for_each(drop);
        let stay = self.len - self.end;
        // SAFETY: the first that stays is in the pages.
        let from = unsafe { self.list.base.add(self.end) };
        // SAFETY: both ranges are in the pages; what lay at the front was taken.
        unsafe { from.copy_to(self.list.base, stay) };
        self.list.len = stay;
    }
}
