//! Requests to a device for a run of consecutive entries at once.

use super::LineOwner;
use std::io;

/// How many entries a request that failed was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// The request was for one entry, whose lines are as they were before it.
    Alone,
    /// The request was for a run of entries. Each of them is then requested alone.
    Run,
}

/// Does `act` once for each run of consecutive entries of a store. If `act` fails for several entries, it is done for
/// each of them alone, so that one entry's failure affects no other. `failed` is called for each entry that failed
/// alone, and for the first entry of each run that failed.
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
