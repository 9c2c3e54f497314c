//! The main job: every device that pvir serves is mapped in one call, programmed without exits, made to raise
//! interrupts, retargeted in one call, masked and unmasked, parked and un-parked, and given back. Each interrupt is
//! counted where it was raised and where it was handled.

mod ledger;
pub(super) mod plan;
mod stages;

use super::checks::Checks;
use crate::console::report;
use crate::devices::{self, Trigger};
use crate::exit::ExitCode;
use crate::pci::{self, Function};
use crate::println;
use crate::remapping::{self, KERNEL, Session, device_id};
use arrayvec::ArrayVec;
use core::fmt;
use plan::Vectors;
use pvir_guest::abi::{Conduits, DeviceId, Stores};
use pvir_guest::{EntryError, MsiCapability, MsixTable};
use pvir_test_kernel::cmdline::CommandLine;
use stages::Bench;

/// Most entries of a device that take part.
pub(super) const MAX_ENTRIES: usize = 48;
/// Interrupts to raise, all devices and entries together, unless `interrupts=` says otherwise.
const INTERRUPTS: u64 = 10_000;

pub(super) fn run(line: CommandLine<'static>) -> ExitCode {
    let interrupts = match line.number("interrupts") {
        Ok(number) => number.unwrap_or(INTERRUPTS),
        Err(error) => return usage(&error),
    };
    let session = match open(line) {
        Ok(session) => session,
        Err(code) => return code,
    };
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
    let disabled = session.disable();
    checks.expect("disable", disabled.is_ok(), format_args!("the host has everything back"));
    checks.finish("direct")
}

pub(super) fn usage(error: &dyn fmt::Display) -> ExitCode {
    println!("error: {error}");
    report::result("fail", |result| {
        result.display("error", error);
    });
    ExitCode::Usage
}

/// There is no pvir here: what the kernel exits with.
pub(super) fn no_pvir(error: &dyn fmt::Display) -> ExitCode {
    println!("error: no pvir: {error}");
    report::result("fail", |result| {
        result.display("error", error);
    });
    ExitCode::Environment
}

/// A session, or what the kernel exits with.
pub(super) fn open(line: CommandLine<'static>) -> Result<Session, ExitCode> {
    let session = remapping::open(line).map_err(|error| no_pvir(&error))?;
    let limits = session.limits();
    let conduits = pvir_guest::discover().map_or(Conduits::empty(), |found| found.host.conduits);
    println!(
        "pvir version {}, enabled in epoch {}, conduits {:#x}, up to {} IRTEs, APIC ids to {}",
        session.version().0,
        session.epoch(),
        conduits.bits(),
        limits.max_irtes,
        limits.max_apic_id
    );
    report::event("session", |event| {
        event
            .num("version", session.version().0)
            .num("epoch", session.epoch())
            .num("conduits", conduits.bits())
            .hex("features", limits.features.bits())
            .num("max_irtes", limits.max_irtes)
            .num("max_apic_id", limits.max_apic_id);
    });
    Ok(session)
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
    let mut driver = match devices::probe(function) {
        Ok(Some(driver)) => driver,
        Ok(None) => return,
        Err(error) => return checks.expect(name, false, format_args!("{error}")),
    };
    driver.init();
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
    info(session, id, name, checks).map(|info| info.stores)
}

/// What the host says of a device.
pub(super) fn info(
    session: &Session,
    id: DeviceId,
    name: &str,
    checks: &mut Checks,
) -> Option<pvir_guest::Device> {
    let mut info = [Err(EntryError::NotAsked)];
    let asked = session.device_info(&[id], &mut info);
    match (asked, info) {
        (Ok(_), [Ok(info)]) => {
            println!("{name} {id}: {info:?}");
            Some(info)
        }
        (Ok(_), [Err(error)]) => {
            checks.expect(name, false, format_args!("{id}: {error}"));
            None
        }
        (Err(error), _) => {
            checks.expect(name, false, format_args!("{id}: {error}"));
            None
        }
    }
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
