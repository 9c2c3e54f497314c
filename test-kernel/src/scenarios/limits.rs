//! What happens when a device asks for more than the VM may have: those before it are unharmed, and it gets what is left
//! and a status.

use super::checks::Checks;
use super::fleet::{self, Failed, Fleet};
use super::setup;
use crate::cpu::interrupts;
use crate::cpu::time::{PATIENCE_MS, QUIET_MS, wait_until};
use crate::devices::Trigger;
use crate::devices::emulated::Emulated;
use crate::exit::ExitCode;
use crate::pci;
use crate::remapping::Session;
use arrayvec::ArrayVec;
use pvir_guest::abi::{DeviceId, Status};
use pvir_guest::{EntryError, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// Where everything goes: one vector for each device.
const VECTORS: [u8; fleet::DEVICES] = [0x60, 0x61];

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let devices: ArrayVec<(DeviceId, Emulated), { fleet::DEVICES }> =
        pci::enumerate().iter().filter_map(Emulated::open).take(fleet::DEVICES).collect();
    match devices.into_inner() {
        Ok(devices) => two(&session, devices, &mut checks),
        Err(_) => checks.expect("devices", false, format_args!("two emulated devices are needed")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("limits"))
}

fn two(session: &Session, mut devices: [(DeviceId, Emulated); fleet::DEVICES], checks: &mut Checks) {
    let (Some(mut first), Some(mut second)) = (fleet::fleet(0), fleet::fleet(1)) else { return };
    let most = session.limits().max_irtes as usize;
    let mapped = grow(session, 0, devices[0].0, &mut first);
    let entries = first.len();
    checks.expect(
        "first",
        mapped.is_ok(),
        format_args!("{entries} entries of the first device: {:?}", mapped.err()),
    );
    let refused = grow(session, 1, devices[1].0, &mut second);
    let left = second.len();
    let status = match &refused {
        Err(Failed::Entry(_, EntryError::Status(status))) => Some(status.status()),
        _ => None,
    };
    checks.expect(
        "second",
        entries + left == most && matches!(status, Some(Status::NO_QUOTA | Status::NO_GSI)),
        format_args!("{left} entries of the second, {most} IRTEs in all, then {status:?}"),
    );
    let [(_, one), (_, other)] = &mut devices;
    unharmed("after-refusal", one, &first, VECTORS[0], checks);
    unharmed("granted", other, &second, VECTORS[1], checks);
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
    let given = fleet::dismiss(session, &mut first, 1);
    let again = fleet::table(1, devices[1].0)
        .and_then(|table| fleet::enlist(session, table, &mut second, 1, |_| target(VECTORS[1])));
    checks.expect(
        "again",
        given == 1 && again.is_ok() && second.len() == left + 1,
        format_args!("one IRTE given back, and mapped by the other device: {:?}", again.err()),
    );
    let [_, (_, other)] = &mut devices;
    unharmed("moved", other, &second, VECTORS[1], checks);
}

/// All entries of a device's table.
fn grow(session: &Session, place: usize, id: DeviceId, fleet: &mut Fleet) -> Result<(), Failed> {
    let table = fleet::table(place, id)?;
    fleet::enlist(session, table, fleet, table.len(), |_| target(VECTORS[place]))
}

fn target(vector: u8) -> Target {
    Target::fixed(crate::cpu::current().apic_id, vector)
}

/// The first and the last entry of a fleet deliver.
fn unharmed(what: &str, driver: &mut Emulated, fleet: &Fleet, vector: u8, checks: &mut Checks) {
    let raise = |index: u32| {
        let before = interrupts::total(vector);
        driver.raise(u16::try_from(index).unwrap_or(u16::MAX));
        wait_until(PATIENCE_MS, || interrupts::total(vector) == before + 1)
    };
    let ends = [fleet.first(), fleet.last()];
    let came =
        ends.iter().flatten().map(|entry| entry.origin().index).map(raise).filter(|came| *came).count();
    checks.expect(what, came == ends.len(), format_args!("{came} of 2 entries deliver, of {}", fleet.len()));
}
