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

/// When an error of one entry is that of all the store's entries after it, which are then not tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GiveUp {
    /// Never: each entry is tried.
    Never,
    /// When the host has no more of what an entry takes ([`is_used_up`]).
    WhenUsedUp,
}

/// Whether an error says that the host has no more of something. To ask for it again at once, for another entry, would
/// cost the host a call and give the same answer.
#[must_use]
pub(crate) fn is_used_up(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::ENOMEM | libc::EMFILE | libc::ENFILE))
}

/// Does `act` once for each run of consecutive entries of a store. If `act` fails for several entries, it is done for
/// each of them alone, so that one entry's failure affects no other, but for what `give_up` says. `failed` is called for
/// each entry that failed alone or was not tried, and for the first entry of each run that failed.
pub(super) fn by_runs<T: LineOwner>(
    mut owners: Vec<&mut T>,
    give_up: GiveUp,
    mut act: impl FnMut(&mut [&mut T]) -> io::Result<()>,
    mut failed: impl FnMut(&mut T, Request, io::Error),
) {
    // Nearly always all of them are one run as they are.
    if owners.windows(2).all(|pair| precedes(&pair[0], &pair[1])) {
        do_run(&mut owners, give_up, &mut act, &mut failed);
        return;
    }
    owners.sort_by_key(LineOwner::origin);
    let store = |owner: &T| (owner.origin().device, owner.origin().store);
    for of_store in owners.chunk_by_mut(|one, next| store(one) == store(next)) {
        let mut used_up = None;
        for run in of_store.chunk_by_mut(precedes) {
            match used_up {
                None => used_up = do_run(run, give_up, &mut act, &mut failed),
                Some(errno) => not_tried(run, errno, &mut failed),
            }
        }
    }
}

/// Answers with the errno for which it has given up.
fn do_run<T: LineOwner>(
    run: &mut [&mut T],
    give_up: GiveUp,
    act: &mut impl FnMut(&mut [&mut T]) -> io::Result<()>,
    failed: &mut impl FnMut(&mut T, Request, io::Error),
) -> Option<i32> {
    if run.is_empty() {
        return None;
    }
    let of_run = act(run).err()?;
    let used_up = |error: &io::Error| {
        error.raw_os_error().filter(|_| give_up == GiveUp::WhenUsedUp && is_used_up(error))
    };
    match run {
        [] => return None,
        [one] => {
            let errno = used_up(&of_run);
            failed(one, Request::Alone, of_run);
            return errno;
        }
        [first, ..] => failed(first, Request::Run, of_run),
    }
    for at in 0..run.len() {
        let Err(error) = act(&mut run[at..=at]) else { continue };
        let errno = used_up(&error);
        failed(run[at], Request::Alone, error);
        if let Some(errno) = errno {
            not_tried(&mut run[at + 1..], errno, failed);
            return Some(errno);
        }
    }
    None
}

fn not_tried<T: LineOwner>(
    rest: &mut [&mut T],
    errno: i32,
    failed: &mut impl FnMut(&mut T, Request, io::Error),
) {
    for one in rest {
        failed(one, Request::Alone, io::Error::from_raw_os_error(errno));
    }
}

/// Whether `next` is the entry behind the messages of `one`.
#[inline]
fn precedes<T: LineOwner>(one: &T, next: &T) -> bool {
    let (origin, behind) = (one.origin(), next.origin());
    origin.index.checked_add(one.lines().count()) == Some(behind.index)
        && (origin.device, origin.store) == (behind.device, behind.store)
}
