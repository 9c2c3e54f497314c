//! The handles and pairs of one epoch, as numbers other than 0.

use super::set::Set;
use crate::sync::{AtomicU64, Ordering};
use core::cmp;

/// What was given although the guest holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Held {
    Handle,
    Pair,
}

/// What is noted, and of which epoch it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notes<'a, const WAYS: usize> {
    pub(crate) epoch: &'a AtomicU64,
    /// How many are noting at this moment.
    pub(crate) noting: &'a AtomicU64,
    pub(crate) handles: Set<'a, WAYS>,
    pub(crate) pairs: Set<'a, WAYS>,
}

impl<const WAYS: usize> Notes<'_, WAYS> {
    /// Notes what the host has given in `epoch`. What an earlier epoch has left is forgotten, and what comes from an
    /// earlier one is not noted.
    pub(crate) fn note(&self, epoch: u64, handle: u64, pair: Option<u64>) -> Result<(), Held> {
        self.noting.fetch_add(1, Ordering::AcqRel);
        let noted = self.note_in(epoch, handle, pair);
        self.noting.fetch_sub(1, Ordering::AcqRel);
        noted
    }

    fn note_in(&self, epoch: u64, handle: u64, pair: Option<u64>) -> Result<(), Held> {
        match self.epoch.fetch_max(epoch, Ordering::AcqRel).cmp(&epoch) {
            // Pairs may have gone stale, and whoever held them may have dropped them.
            cmp::Ordering::Less => self.clear(),
            cmp::Ordering::Equal => {}
            cmp::Ordering::Greater => return Ok(()),
        }
        if !self.handles.insert(handle) {
            return if self.is_held(epoch, self.handles, handle) { Err(Held::Handle) } else { Ok(()) };
        }
        let there = pair.filter(|pair| !self.pairs.insert(*pair));
        if self.is_over(epoch) {
            // What we have put may come after the clearing of the later epoch, in which it may be given again.
            self.forget(handle, pair.filter(|_| there.is_none()));
            return Ok(());
        }
        match there {
            Some(pair) if self.is_held(epoch, self.pairs, pair) => {
                self.handles.remove(handle);
                Err(Held::Pair)
            }
            _ => Ok(()),
        }
    }

    /// Whether a later epoch was seen. It clears after it has raised the epoch: either that takes what was put, or what
    /// was put has found its zero, and so finds its epoch.
    fn is_over(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) > epoch
    }

    /// Whether a value that was found is one that the guest holds. It may be one of an earlier epoch that is noted too
    /// late at this moment, and taken back: so a value counts if it is there while nobody else is noting. Whoever begins
    /// to after that finds our epoch.
    fn is_held(&self, epoch: u64, set: Set<'_, WAYS>, value: u64) -> bool {
        let alone = self.noting.fetch_add(0, Ordering::AcqRel) == 1;
        alone && set.has(value) && !self.is_over(epoch)
    }

    /// Forgets what is about to be given back: the host may give the same pair again.
    pub(crate) fn forget(&self, handle: u64, pair: Option<u64>) {
        self.handles.remove(handle);
        pair.into_iter().for_each(|pair| self.pairs.remove(pair));
    }

    pub(crate) fn clear(&self) {
        self.handles.clear();
        self.pairs.clear();
    }

    /// Forgets everything, and begins with the epoch of an ENABLE.
    pub(crate) fn begin(&self, epoch: u64) {
        self.clear();
        self.epoch.store(epoch, Ordering::Release);
    }
}
