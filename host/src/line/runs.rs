//! Entries that come one after the other, and what is asked of all of them at once.

use super::LineOwner;
use std::io;

/// For whom something was asked that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// For the entry alone: it stands as it was.
    Alone,
    /// For the entry and those behind it: each is asked for alone then.
    Run,
}

/// Has `act` done on every owner, with one request for each run of consecutive entries of a store. Where the request for
/// several entries fails, each is asked for alone, so that one entry that fails takes no other with it. `failed` hears of
/// those that failed, and of the first entry of a run that did.
pub(super) fn by_runs<T: LineOwner>(
    mut owners: Vec<&mut T>,
    mut act: impl FnMut(&mut [&mut T]) -> io::Result<()>,
    mut failed: impl FnMut(&mut T, Request, io::Error),
) {
    // Nearly always all of them are one run as they are.
    if owners.windows(2).all(|pair| precedes(&pair[0], &pair[1])) {
        return do_run(&mut owners, &mut act, &mut failed);
    }
    owners.sort_by_key(LineOwner::origin);
    for run in owners.chunk_by_mut(precedes) {
        do_run(run, &mut act, &mut failed);
    }
}

fn do_run<T: LineOwner>(
    run: &mut [&mut T],
    act: &mut impl FnMut(&mut [&mut T]) -> io::Result<()>,
    failed: &mut impl FnMut(&mut T, Request, io::Error),
) {
    if run.is_empty() {
        return;
    }
    let Err(of_run) = act(run) else { return };
    match run {
        [] => return,
        [one] => return failed(one, Request::Alone, of_run),
        [first, ..] => failed(first, Request::Run, of_run),
    }
    for one in run.chunks_mut(1) {
        if let (Err(error), [one]) = (act(one), one) {
            failed(one, Request::Alone, error);
        }
    }
}

/// Whether `next` is the entry behind the messages of `one`.
#[inline]
fn precedes<T: LineOwner>(one: &T, next: &T) -> bool {
    let (origin, behind) = (one.origin(), next.origin());
    origin.index.checked_add(one.lines().count()) == Some(behind.index)
        && (origin.device, origin.store) == (behind.device, behind.store)
}
