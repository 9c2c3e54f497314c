//! pvir enabled over live trapped interrupts, used, disabled; then trapped again.

use super::witness::{MessageTarget, Witness, raise_to};
use super::{Driven, MAX_DEVICES};
use crate::harness::checks::Checks;
use crate::harness::setup;
use crate::machine::devices::{Device, Trigger};
use crate::remapping::{self, Kernel, NoSession, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::DeviceId;
use pvir_guest::{Entry, Error, MapRequest, Masked, MsiCapability, MsixTable, StoreEntry, Target};
use pvir_test_kernel::cmdline::CommandLine;

pub(super) fn run(
    line: CommandLine<'static>,
    driven: &mut ArrayVec<Driven, MAX_DEVICES>,
    rounds: u64,
    checks: &mut Checks,
) {
    let Ok(session) = setup::open(line) else {
        return checks.expect("enable", false, format_args!("over live interrupts"));
    };
    let witness = Witness::new();
    for device in driven.iter_mut() {
        device.raise_all();
    }
    let quiet = witness.saw_nothing();
    checks.expect("enable", quiet, format_args!("what was programmed before acts no more"));
    for device in driven.iter_mut() {
        device.direct(&session, rounds, checks);
    }
    setup::close(session, checks);
    for device in driven {
        device.trapped_again(rounds, checks);
    }
}

/// ENABLE is refused, and changes nothing (E6).
pub(super) fn refused(
    line: CommandLine<'static>,
    driven: &mut ArrayVec<Driven, MAX_DEVICES>,
    rounds: u64,
    checks: &mut Checks,
) {
    match remapping::open(line, None) {
        Err(NoSession::Host(error @ Error::Refused { .. })) => {
            checks.expect("refused", true, format_args!("{error}"));
        }
        Err(error) => checks.expect("refused", false, format_args!("{error}")),
        Ok(_) => checks.expect("refused", false, format_args!("the host has granted it")),
    }
    for device in driven {
        match device {
            Driven::Msix(msix) => msix.delivered(rounds, "trapped-on", checks),
            Driven::Msi(msi) => msi.delivered(rounds, "trapped-on", checks),
        }
    }
}

impl Driven {
    /// But for the first entry of a table: the device holds what it raises while masked, and that one is used next.
    fn raise_all(&mut self) {
        match self {
            Self::Msix(msix) => {
                msix.each(|msix, index, _| {
                    if index != 0 {
                        msix.device.raise(index);
                        msix.device.acknowledge(index);
                    }
                    true
                });
            }
            Self::Msi(msi) => {
                msi.device.raise(0);
                msi.device.acknowledge(0);
            }
        }
    }

    /// The first entry, programmed with a pair of the host's.
    fn direct(&mut self, session: &Session, rounds: u64, checks: &mut Checks) {
        let (name, came) = match self {
            Self::Msix(msix) => {
                msix.table.set_enabled(false);
                let came = msix.id.zip(msix.place(0)).map(|(id, place)| {
                    let table = MsixTable::open(Kernel, id).map_err(|error| failed(checks, &error)).ok()?;
                    let entry = table.claim(0)?;
                    one(session, &mut msix.device, entry, place, rounds, checks)
                });
                (msix.name, came)
            }
            Self::Msi(msi) => {
                msi.set_enabled(false);
                let came = msi.id.zip(msi.place(0)).map(|(id, place)| {
                    let entry = of_msi(id).map_err(|error| failed(checks, &error)).ok()?;
                    one(session, &mut msi.device, entry, place, rounds, checks)
                });
                (msi.name, came)
            }
        };
        checks.expect(
            "direct",
            came.flatten() == Some(true),
            format_args!("{name}: programmed by the guest"),
        );
    }

    /// T4, and then all as in the beginning.
    fn trapped_again(&mut self, rounds: u64, checks: &mut Checks) {
        match self {
            Self::Msix(msix) => {
                let on = msix.table.set_enabled(true);
                let clear = msix.each(|msix, index, _| msix.table.entry(index.into()) == [0, 0, 0, 1]);
                let right = on && clear == usize::from(msix.entries);
                let name = msix.name;
                checks.expect("cleared", right, format_args!("{name}: {clear} entries masked and zero"));
                let witness = Witness::new();
                msix.programmed(checks);
                // What the device held since `raise_all` must not come among those that are counted next.
                let kept = witness.saw_no_more_than_kept(u64::from(msix.entries) - 1);
                checks.expect(
                    "kept",
                    kept,
                    format_args!("{name}: no more than what was raised while mapped by no one"),
                );
                msix.delivered(rounds, "trapped-again", checks);
            }
            Self::Msi(msi) => msi.delivered(rounds, "trapped-again", checks),
        }
    }
}

fn of_msi(id: DeviceId) -> Result<Entry<impl StoreEntry + fmt::Debug, Masked>, pvir_guest::PciError> {
    MsiCapability::open(Kernel, id)?.claim(1)
}

fn failed(checks: &mut Checks, error: &dyn fmt::Display) {
    checks.expect("direct", false, format_args!("{error}"));
}

/// Maps an entry, raises it, gives it back.
fn one<T: StoreEntry>(
    session: &Session,
    device: &mut Device,
    entry: Entry<T, Masked>,
    place: MessageTarget,
    rounds: u64,
    checks: &mut Checks,
) -> Option<bool> {
    let target = Target::fixed(place.cpu.apic_id, place.vector);
    let irte =
        session.map(MapRequest::new(entry.origin(), target)).map_err(|error| failed(checks, &error)).ok()?;
    let live = entry.program(irte).ok()?.unmask();
    let witness = Witness::new();
    let came = (0..rounds).all(|_| raise_to(device, 0, place));
    let exact = witness.saw(rounds, device);
    let (_, irte) = live.mask().ok()?.retire();
    let unmapped = session.unmap(irte).is_ok();
    Some(came && exact && unmapped)
}
