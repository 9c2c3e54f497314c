//! What happens when a device asks for more than the VM may have: those before it are unharmed, and it gets what is left
//! and a status.

use crate::harness::checks::Checks;
use crate::harness::live_entries::{Failed, LiveEntry, LiveTable};
use crate::harness::setup;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, wait_until};
use crate::machine::devices::Trigger;
use crate::machine::devices::emulated::Emulated;
use crate::machine::exit::ExitCode;
use crate::machine::pci;
use crate::remapping::Session;
use arrayvec::ArrayVec;
use pvir_guest::abi::{DeviceId, Status};
use pvir_guest::{EntryError, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// Where everything goes: one vector for each device.
const VECTORS: [u8; DEVICES] = [0x60, 0x61];
const DEVICES: usize = 2;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let devices: ArrayVec<(DeviceId, Emulated), DEVICES> =
        pci::enumerate().iter().filter_map(Emulated::open).take(DEVICES).collect();
    match devices.into_inner() {
        Ok(devices) => two(&session, devices, &mut checks),
        Err(_) => checks.expect("devices", false, format_args!("two emulated devices are needed")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("limits"))
}

fn two(session: &Session, mut devices: [(DeviceId, Emulated); DEVICES], checks: &mut Checks) {
    let tables = (LiveTable::open(devices[0].0), LiveTable::open(devices[1].0));
    let (mut first, mut second) = match tables {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => return checks.expect("tables", false, format_args!("{error}")),
    };
    let max_irtes = session.limits().max_irtes as usize;
    let mapped = grow(session, &mut first, VECTORS[0]);
    let entries = first.live().len();
    checks.expect(
        "first",
        mapped.is_ok(),
        format_args!("{entries} entries of the first device: {:?}", mapped.err()),
    );
    let refused = grow(session, &mut second, VECTORS[1]);
    let left = second.live().len();
    let status = match &refused {
        Err(Failed::Entry(_, EntryError::Status(status))) => Some(status.status()),
        _ => None,
    };
    checks.expect(
        "second",
        entries + left == max_irtes && matches!(status, Some(Status::NO_QUOTA | Status::NO_GSI)),
        format_args!("{left} entries of the second, {max_irtes} IRTEs in all, then {status:?}"),
    );
    let [(_, one), (_, other)] = &mut devices;
    unharmed("after-refusal", one, first.live(), VECTORS[0], checks);
    unharmed("granted", other, second.live(), VECTORS[1], checks);
    // The entry that was refused sends nothing.
    let before = interrupts::grand_total();
    other.raise(u16::try_from(left).unwrap_or(u16::MAX));
    let quiet = !wait_until(QUIET_MS, || interrupts::grand_total() != before);
    checks.expect(
        "refused",
        quiet,
        format_args!("entry {left} of the second device reaches nobody: {quiet}"),
    );
    // What one gives back the other may have.
    let given = first.unmap_first(session, 1);
    let again = second.extend(session, 1, |_| target(VECTORS[1]));
    checks.expect(
        "again",
        given == 1 && again.is_ok() && second.live().len() == left + 1,
        format_args!("one IRTE given back, and mapped by the other device: {:?}", again.err()),
    );
    let [_, (_, other)] = &mut devices;
    unharmed("moved", other, second.live(), VECTORS[1], checks);
}

/// All entries of a device's table.
fn grow(session: &Session, table: &mut LiveTable, vector: u8) -> Result<(), Failed> {
    table.extend(session, table.size(), |_| target(vector))
}

fn target(vector: u8) -> Target {
    Target::fixed(crate::machine::cpu::current().apic_id, vector)
}

/// The first and the last of the live entries deliver.
fn unharmed(what: &str, driver: &mut Emulated, entries: &[LiveEntry], vector: u8, checks: &mut Checks) {
    let raise = |index: u32| {
        let before = interrupts::total(vector);
        driver.raise(u16::try_from(index).unwrap_or(u16::MAX));
        wait_until(PATIENCE_MS, || interrupts::total(vector) == before + 1)
    };
    let ends = [entries.first(), entries.last()];
    let came =
        ends.iter().flatten().map(|entry| entry.origin().index).map(raise).filter(|came| *came).count();
    checks.expect(
        what,
        came == ends.len(),
        format_args!("{came} of 2 entries deliver, of {}", entries.len()),
    );
}
