//! Work on many lines that waits in the kernel, shared among threads so that the waits overlap.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Fewer pieces than this for each thread are not worth starting it (docs/performance.md, "Tried").
const PIECES: usize = 16;

/// Does `work` on every place below `count`, here and in at most `helpers` threads beside, and answers with the errors in
/// the order of places.
///
/// A thread that cannot be started is done without.
pub(super) fn share<E: Send>(
    helpers: usize,
    count: usize,
    work: impl Fn(usize) -> Result<(), E> + Sync,
) -> Vec<(usize, E)> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let take_part = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count {
                return;
            }
            if let Err(error) = work(place) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push((place, error));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers.min(count / PIECES) {
            let helper = thread::Builder::new().name("pvir-helper".into());
            if helper.spawn_scoped(scope, take_part).is_err() {
                break;
            }
        }
        take_part();
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_unstable_by_key(|(place, _)| *place);
    failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn every_place_is_worked_on_once_and_the_errors_are_in_order() {
        for helpers in [0, 1, 3, 100] {
            let done: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
            let failed = share(helpers, done.len(), |place| {
                done[place].fetch_add(1, Ordering::Relaxed);
                if place % 20 == 3 { Err(place * 2) } else { Ok(()) }
            });
            assert!(done.iter().all(|times| times.load(Ordering::Relaxed) == 1));
            assert_eq!(failed, [3, 23, 43, 63, 83].map(|place| (place, place * 2)));
        }
    }

    #[test]
    fn the_waits_overlap() {
        let all = Barrier::new(4);
        // It would never end if one came after the other.
        let failed = share(3, 4 * PIECES, |place| {
            if place < 4 {
                all.wait();
            }
            Ok::<(), ()>(())
        });
        assert!(failed.is_empty());
    }

    #[test]
    fn few_pieces_start_no_thread() {
        let here = thread::current().id();
        let elsewhere = AtomicUsize::new(0);
        share(8, PIECES - 1, |_| {
            elsewhere.fetch_add(usize::from(thread::current().id() != here), Ordering::Relaxed);
            Ok::<(), ()>(())
        });
        assert_eq!(elsewhere.into_inner(), 0);
        assert!(share(8, 0, |_| Err::<(), ()>(())).is_empty());
    }
}
