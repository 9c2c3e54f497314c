//! All pairs of the machine's devices that are alive: a unit that does not look at who sends a message needs them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pvir_abi::{Pair, Store};
use pvir_host::eventfd::EventFd;

/// An entry's interrupt.
struct Line {
    /// The number of the device, in the order of the command line.
    device: usize,
    entry: (Store, u32),
    eventfd: EventFd,
    /// Once it was asked for.
    pair: Option<Pair>,
}

/// The lines of all devices.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<Line>>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn started(&self, device: usize, entry: (Store, u32), eventfd: EventFd) {
        self.lock().push(Line { device, entry, eventfd, pair: None });
    }

    pub(crate) fn has_pair(&self, device: usize, entry: (Store, u32), pair: Pair) {
        let mut all = self.lock();
        let of = all.iter_mut().filter(|line| line.device == device && line.entry == entry);
        of.for_each(|line| line.pair = Some(pair));
    }

    pub(crate) fn stopped(&self, device: usize, entry: (Store, u32)) {
        self.lock().retain(|line| line.device != device || line.entry != entry);
    }

    /// Signals the interrupt whose pair this is, if another device has it.
    pub(crate) fn signal_of_another(&self, device: usize, pair: Pair) {
        let all = self.lock();
        if let Some(line) = all.iter().find(|line| line.pair == Some(pair) && line.device != device) {
            // A count that is full is an interrupt that waits anyway.
            let _ = line.eventfd.signal();
        }
    }

    /// Signals some interrupt of the device, if nobody has this pair.
    pub(crate) fn signal_for_nobody(&self, device: usize, pair: Pair) {
        let all = self.lock();
        if all.iter().any(|line| line.pair == Some(pair)) {
            return;
        }
        if let Some(line) = all.iter().find(|line| line.device == device) {
            // As above.
            let _ = line.eventfd.signal();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: (Store, u32) = (Store::MSIX, 0);

    #[test]
    fn a_pair_signals_by_the_rule_of_each_host() {
        let (lines, eventfd) = (Lines::default(), EventFd::new().unwrap());
        let (known, unknown) =
            (Pair { address: 0xfee0_0010, data: 1 }, Pair { address: 0xfee0_0030, data: 1 });
        lines.started(0, ENTRY, eventfd.try_clone().unwrap());
        lines.has_pair(0, ENTRY, known);
        lines.signal_of_another(0, known);
        lines.signal_of_another(1, unknown);
        lines.signal_for_nobody(0, known);
        lines.signal_for_nobody(1, unknown);
        assert!(eventfd.read().is_err(), "nothing was to be signalled");
        lines.signal_of_another(1, known);
        lines.signal_for_nobody(0, unknown);
        assert_eq!(eventfd.read().unwrap(), 2);
        lines.stopped(0, ENTRY);
        lines.signal_of_another(1, known);
        assert!(eventfd.read().is_err());
    }
}
