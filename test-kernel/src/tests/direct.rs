//! The main job: every device that pvir serves is mapped in one call, programmed without exits, made to raise
//! interrupts, retargeted in one call, masked and unmasked, parked and un-parked, and given back. Each interrupt is
//! counted where it was raised and where it was handled.

mod ledger;
mod stages;

use crate::harness::checks::Checks;
use crate::harness::setup;
use crate::harness::vectors::{Destination, Vectors};
use crate::machine::console::report;
use crate::machine::devices::{self, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::device_id;
use crate::machine::pci::{self, Function};
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use pvir_guest::abi::{DeviceId, Stores};
use pvir_guest::{MsiCapability, MsixTable};
use pvir_test_kernel::cmdline::CommandLine;
use stages::DeviceUnderTest;

/// Most entries of a device that take part.
pub(super) const MAX_ENTRIES: usize = 48;
/// Interrupts to raise, all devices and entries together, unless `interrupts=` says otherwise.
const INTERRUPTS: u64 = 10_000;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let interrupts = setup::number(line, "interrupts", INTERRUPTS)?;
    let session = setup::open(line)?;
    report::checkpoint("enabled");
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let served = |function: &&Function| devices::name(function).is_some();
    let count = functions.iter().filter(served).count() as u64;
    checks.expect("devices", count > 0, format_args!("{count} devices with a driver"));
    let mut vectors = Vectors::new();
    for function in functions.iter().filter(served) {
        device(&session, function, &mut vectors, interrupts.div_ceil(count), &mut checks);
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("direct"))
}

fn device(
    session: &Session,
    function: &Function,
    vectors: &mut Vectors,
    interrupts: u64,
    checks: &mut Checks,
) {
    let name = devices::name(function).unwrap_or("device");
    let Some(id) = device_id(function.address) else { return };
    let Some(mut driver) = setup::driver(function, checks) else { return };
    let Some(stores) = stores(session, id, name, checks) else { return };
    let mut test = DeviceUnderTest { session, name, id, driver: &mut driver, interrupts, vectors, checks };
    if stores.contains(Stores::MSIX) {
        msix(&mut test);
    } else if stores.contains(Stores::MSI) {
        msi(&mut test);
    } else {
        test.checks.expect(name, false, format_args!("the host serves no store of it"));
    }
}

fn stores(session: &Session, id: DeviceId, name: &str, checks: &mut Checks) -> Option<Stores> {
    setup::info(session, id, name, checks).map(|info| info.stores)
}

fn msix(test: &mut DeviceUnderTest<'_>) {
    let table = match MsixTable::open(Kernel, test.id) {
        Ok(table) => table,
        Err(error) => return test.fail("table", format_args!("{error}")),
    };
    let wanted = usize::from(test.driver.vectors()).min(MAX_ENTRIES);
    let entries: ArrayVec<_, MAX_ENTRIES> =
        (0..table.len()).take(wanted).filter_map(|i| table.claim(i)).collect();
    test.checks.expect(
        "claim",
        entries.len() == wanted,
        format_args!("{} of {wanted} MSI-X entries are this driver's", entries.len()),
    );
    test.run(entries);
}

fn msi(test: &mut DeviceUnderTest<'_>) {
    let claimed = MsiCapability::open(Kernel, test.id).and_then(|capability| capability.claim(1));
    match claimed {
        Ok(entry) => test.run(ArrayVec::from_iter([entry])),
        Err(error) => test.fail("claim", format_args!("{error}")),
    }
}

/// Entry `i` goes to processor `i + shift`, in turn, with vector `first + i`.
fn spread(count: usize, first: u8, shift: usize) -> ArrayVec<Destination, MAX_ENTRIES> {
    let destination = |(entry, vector): (usize, u8)| Destination::on(entry + shift, vector);
    (0..count.min(MAX_ENTRIES)).zip(first..).filter_map(destination).collect()
}
