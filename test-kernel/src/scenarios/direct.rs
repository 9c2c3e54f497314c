//! The main job: every device that pvir serves is mapped in one call, programmed without exits, made to raise
//! interrupts, retargeted in one call, masked and unmasked, parked and un-parked, and given back. Each interrupt is
//! counted where it was raised and where it was handled.

mod ledger;
pub(super) mod plan;
mod stages;

use super::checks::Checks;
use super::setup;
use crate::console::report;
use crate::devices::{self, Trigger};
use crate::exit::ExitCode;
use crate::pci::{self, Function};
use crate::remapping::{KERNEL, Session, device_id};
use arrayvec::ArrayVec;
use plan::Vectors;
use pvir_guest::abi::{DeviceId, Stores};
use pvir_guest::{MsiCapability, MsixTable};
use pvir_test_kernel::cmdline::CommandLine;
use stages::Bench;

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
    let mut bench = Bench { session, name, id, driver: &mut driver, interrupts, vectors, checks };
    if stores.contains(Stores::MSIX) {
        msix(&mut bench);
    } else if stores.contains(Stores::MSI) {
        msi(&mut bench);
    } else {
        bench.checks.expect(name, false, format_args!("the host serves no store of it"));
    }
}

fn stores(session: &Session, id: DeviceId, name: &str, checks: &mut Checks) -> Option<Stores> {
    setup::info(session, id, name, checks).map(|info| info.stores)
}

fn msix(bench: &mut Bench<'_>) {
    let table = match MsixTable::open(&KERNEL, bench.id) {
        Ok(table) => table,
        Err(error) => return bench.fail("table", format_args!("{error}")),
    };
    let wanted = usize::from(bench.driver.vectors()).min(MAX_ENTRIES);
    let entries: ArrayVec<_, MAX_ENTRIES> =
        (0..table.len()).take(wanted).filter_map(|i| table.claim(i)).collect();
    bench.checks.expect(
        "claim",
        entries.len() == wanted,
        format_args!("{} of {wanted} MSI-X entries are this driver's", entries.len()),
    );
    bench.run(entries);
}

fn msi(bench: &mut Bench<'_>) {
    let claimed = MsiCapability::open(&KERNEL, bench.id).and_then(|capability| capability.claim(1));
    match claimed {
        Ok(entry) => bench.run(ArrayVec::from_iter([entry])),
        Err(error) => bench.fail("claim", format_args!("{error}")),
    }
}
