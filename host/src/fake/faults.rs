//! Injection of failures into chosen calls.

use super::CallKind;
use std::io;

/// The failures to inject; none at first. `EBADMSG` injected into [`CallKind::Pair`] stands for a pair that was
/// unstable or malformed.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    planned: Vec<InjectedFault>,
    injected: u64,
}

#[derive(Clone, Debug)]
struct InjectedFault {
    /// `None`: calls of every kind count.
    kind: Option<CallKind>,
    /// Calls to let through before.
    after: u32,
    errno: i32,
    /// Whether all later ones fail as well.
    lasting: bool,
}

impl Faults {
    /// Makes one call fail with `errno`: the one that comes after the next `after` calls of the kind (`None`: of any
    /// kind).
    pub fn fail_once(&mut self, kind: Option<CallKind>, after: u32, errno: i32) {
        self.planned.push(InjectedFault { kind, after, errno, lasting: false });
    }

    /// Makes every call of the kind fail with `errno` after the next `after` ones (`None`: of any kind).
    pub fn fail_from(&mut self, kind: Option<CallKind>, after: u32, errno: i32) {
        self.planned.push(InjectedFault { kind, after, errno, lasting: true });
    }

    /// Forgets all planned failures. `true` if one of them was never injected.
    pub fn clear(&mut self) -> bool {
        let unmet = self.planned.iter().any(|fault| !fault.lasting || fault.after > 0);
        self.planned.clear();
        unmet
    }

    /// Number of failures injected so far.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.injected
    }

    /// Counts a call; fails it if its turn has come.
    pub(super) fn meet(&mut self, kind: CallKind) -> io::Result<()> {
        let mut failing = None;
        for (place, fault) in self.planned.iter_mut().enumerate() {
            if fault.kind.is_some_and(|failing| failing != kind) {
                continue;
            }
            match fault.after.checked_sub(1) {
                Some(left) => fault.after = left,
                None => failing = failing.or(Some((place, fault.errno, fault.lasting))),
            }
        }
        let Some((place, errno, lasting)) = failing else { return Ok(()) };
        if !lasting {
            self.planned.remove(place);
        }
        self.injected += 1;
        Err(io::Error::from_raw_os_error(errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_fault_meets_the_call_that_was_meant() {
        let mut faults = Faults::default();
        faults.fail_once(Some(CallKind::Attach), 1, libc::EMFILE);
        let met: Vec<_> = [CallKind::Attach, CallKind::Detach, CallKind::Attach, CallKind::Attach]
            .into_iter()
            .map(|kind| faults.meet(kind).err().and_then(|error| error.raw_os_error()))
            .collect();
        assert_eq!(met, [None, None, Some(libc::EMFILE), None]);
        assert_eq!((faults.injected(), faults.clear()), (1, false));
    }

    #[test]
    fn a_lasting_fault_goes_on_until_it_is_cleared() {
        let mut faults = Faults::default();
        faults.fail_from(None, 1, libc::EIO);
        assert!(faults.meet(CallKind::Open).is_ok());
        assert!(faults.meet(CallKind::Pair).is_err() && faults.meet(CallKind::Close).is_err());
        assert!(!faults.clear());
        assert!(faults.meet(CallKind::Pair).is_ok());
    }
}
