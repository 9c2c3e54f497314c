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
pub(crate) struct Notes<'a> {
    pub(crate) epoch: &'a AtomicU64,
    pub(crate) handles: Set<'a>,
    pub(crate) pairs: Set<'a>,
}

impl Notes<'_> {
    /// Notes what the host has given in `epoch`. What an earlier epoch has left is forgotten, and what comes from an
    /// earlier one is not noted.
    pub(crate) fn note(&self, epoch: u64, handle: u64, pair: Option<u64>) -> Result<(), Held> {
        match self.epoch.fetch_max(epoch, Ordering::AcqRel).cmp(&epoch) {
            // Pairs may have gone stale, and whoever held them may have dropped them.
            cmp::Ordering::Less => self.clear(),
            cmp::Ordering::Equal => {}
            cmp::Ordering::Greater => return Ok(()),
        }
        // Another CPU may have seen a later epoch meanwhile. What it has noted is no repetition of ours, and what we note
        // now may be given again. It clears after it has raised the epoch: either that takes what we have put, or we have
        // found its zero, and so find its epoch.
        let is_over = || self.epoch.load(Ordering::Acquire) > epoch;
        if !self.handles.insert(handle) {
            return if is_over() { Ok(()) } else { Err(Held::Handle) };
        }
        let held = pair.filter(|pair| !self.pairs.insert(*pair));
        if is_over() {
            self.handles.remove(handle);
            if held.is_none() {
                pair.into_iter().for_each(|pair| self.pairs.remove(pair));
            }
            return Ok(());
        }
        if held.is_some() {
            self.handles.remove(handle);
            return Err(Held::Pair);
        }
        Ok(())
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
