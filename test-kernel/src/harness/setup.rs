//! What tests begin and end with. What a test cannot begin without is reported here; the error is then what the
//! kernel exits with.

use super::checks::Checks;
use crate::machine::console::report;
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::{Function, Functions};
use crate::println;
use crate::remapping::{self, Session};
use core::fmt;
use pvir_guest::abi::{Conduits, DeviceId};
use pvir_guest::conduit::HardwareConduit;
use pvir_guest::{Discovered, EntryError, Notify};
use pvir_test_kernel::cmdline::CommandLine;

/// The number behind `key=`, or what it is unless the command line says so.
pub(crate) fn number(line: CommandLine<'static>, key: &str, otherwise: u64) -> Result<u64, ExitCode> {
    match line.number(key) {
        Ok(number) => Ok(number.unwrap_or(otherwise)),
        Err(error) => Err(failed(&error, ExitCode::Usage)),
    }
}

/// After how many rounds whoever looks at this machine from outside is to find it as before: `each=`.
pub(crate) fn each(line: CommandLine<'static>) -> Result<u64, ExitCode> {
    Ok(number(line, "each", 1)?.max(1))
}

/// With `checkpoints`, stands still after every `each` rounds, and before the first one.
pub(crate) fn baseline(done: u64, each: u64) {
    if done % each == 0 {
        report::checkpoint("baseline");
    }
}

/// The machine lacks something.
pub(crate) fn refuse(error: &dyn fmt::Display) -> ExitCode {
    failed(error, ExitCode::Environment)
}

fn failed(error: &dyn fmt::Display, code: ExitCode) -> ExitCode {
    println!("error: {error}");
    report::result("fail", |result| {
        result.display("error", error);
    });
    code
}

/// What the host shows, and the usual conduit.
pub(crate) fn discover(line: CommandLine<'static>) -> Result<(Discovered, HardwareConduit), ExitCode> {
    remapping::discover(line).map_err(|error| no_pvir(&error))
}

fn no_pvir(error: &dyn fmt::Display) -> ExitCode {
    failed(&format_args!("no pvir: {error}"), ExitCode::Environment)
}

/// A session, or what the kernel exits with.
pub(crate) fn open(line: CommandLine<'static>) -> Result<Session, ExitCode> {
    let session = open_silently(line)?;
    report_session(&session);
    Ok(session)
}

/// A session with its events announced, or what the kernel exits with.
pub(crate) fn open_with(line: CommandLine<'static>, notify: Option<Notify>) -> Result<Session, ExitCode> {
    let session = remapping::open(line, notify).map_err(|error| no_pvir(&error))?;
    report_session(&session);
    Ok(session)
}

/// A session, of which nothing is said yet: to print is to exit from the VM, for each byte.
pub(crate) fn open_silently(line: CommandLine<'static>) -> Result<Session, ExitCode> {
    remapping::open(line, None).map_err(|error| no_pvir(&error))
}

/// What the host and the kernel have agreed on.
pub(crate) fn report_session(session: &Session) {
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
}

/// Gives everything back, which is a check as well.
pub(crate) fn close(session: Session, checks: &mut Checks) {
    let disabled = session.disable();
    checks.expect("disable", disabled.is_ok(), format_args!("the host has everything back"));
}

/// The devices with a driver and an MSI-X table.
pub(crate) fn with_msix(functions: &Functions) -> impl Iterator<Item = &Function> {
    functions.iter().filter(|function| devices::name(function).is_some() && function.msix().is_some())
}

/// The driver of a device, ready; nothing if there is none, or if it failed, which a check then tells.
pub(crate) fn driver(function: &Function, checks: &mut Checks) -> Option<Device> {
    match devices::probe(function) {
        Ok(driver) => {
            let mut driver = driver?;
            driver.init();
            Some(driver)
        }
        Err(error) => {
            checks.expect(devices::name(function)?, false, format_args!("{error}"));
            None
        }
    }
}

/// What the host says of a device.
pub(crate) fn info(
    session: &Session,
    id: DeviceId,
    name: &str,
    checks: &mut Checks,
) -> Option<pvir_guest::DeviceInfo> {
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
