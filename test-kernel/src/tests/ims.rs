//! IMS: messages from places of the device's own, which the host never sees. Several are mapped in one call with
//! MSI-X entries of the same device, stored by the driver, raised, retargeted, parked, and given back; what is still
//! stored then reaches nobody. With `table` on the command line the places are spare entries of the MSI-X table.

mod senders;
mod stages;

use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::devices::{self, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::device_id;
use crate::machine::pci::{self, Function};
use crate::remapping::{Kernel, Session};
use pvir_guest::MsixTable;
use pvir_guest::abi::Features;
use pvir_test_kernel::cmdline::CommandLine;
use stages::ImsTest;

/// Places, and MSI-X entries beside them, that take part.
const MAX_SENDERS: u16 = 4;
/// How often each is raised in each stage, unless `rounds=` says otherwise.
const ROUNDS: u64 = 100;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let session = setup::open(line)?;
    report::checkpoint("enabled");
    let mut checks = Checks::new();
    if session.features().contains(Features::IMS) {
        let functions = pci::enumerate();
        let tried: u32 = functions
            .iter()
            .map(|function| device(&session, function, rounds, line.flag("table"), &mut checks))
            .sum();
        checks.expect(
            "devices",
            tried > 0,
            format_args!("{tried} devices with places for messages of their own"),
        );
    } else {
        checks.record("ims", &Outcome::Skipped("the host does not offer IMS"), format_args!(""));
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("ims"))
}

/// Answers how many devices were tried: one or none.
fn device(session: &Session, function: &Function, rounds: u64, in_table: bool, checks: &mut Checks) -> u32 {
    let (Some(name), Some(id)) = (devices::name(function), device_id(function.address)) else { return 0 };
    let Some(mut driver) = setup::driver(function, checks) else { return 0 };
    if driver.ims_locations() == 0 {
        return 0;
    }
    let Some(info) = setup::info(session, id, name, checks) else { return 0 };
    match MsixTable::open(Kernel, id) {
        Ok(table) => {
            let mut test = ImsTest { session, name, info, driver: &mut driver, rounds, in_table, checks };
            let finished = test.run(&table);
            checks.expect("finished", finished.is_some(), format_args!("{id}: all stages were gone through"));
        }
        Err(error) => checks.expect("table", false, format_args!("{id}: {error}")),
    }
    1
}
