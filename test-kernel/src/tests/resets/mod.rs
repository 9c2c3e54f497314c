//! A guest resets its devices, over and over and under traffic: trapped, and with pvir. What was mapped stays mapped, comes
//! back masked, and works again; what was pending is gone. `rounds=` says how often each device is reset with pvir, and
//! `recovery=` how many milliseconds it is left alone then. With `by=host` it is the host's administrator who resets them.

mod by_host;
mod direct;
mod trapped;

use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::reset::{AfterReset, RECOVERY_MS, ResetRegister};
use crate::machine::pci::{self, Function};
use crate::println;
use pvir_test_kernel::cmdline::CommandLine;

/// Resets of each device with pvir, unless `rounds=` says otherwise.
const ROUNDS: u64 = 100;
/// One of so many is while the device is trapped.
const TRAPPED_SHARE: u64 = 10;
/// Entries of each device that take part.
const ENTRIES: u16 = 4;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let each = setup::each(line)?;
    let recovery_ms = setup::number(line, "recovery", RECOVERY_MS)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let resettable =
        || setup::with_msix(&functions).filter_map(|function| Subject::new(function, recovery_ms));
    let by_host = line.value("by") == Some("host");
    for subject in resettable().filter(|_| !by_host) {
        trapped::run(&subject, rounds.div_ceil(TRAPPED_SHARE), &mut checks);
    }
    let session = setup::open(line)?;
    let mut all = 0;
    for subject in resettable() {
        all += 1;
        if by_host {
            by_host::run(&session, &subject, &mut checks);
        } else {
            direct::run(&session, &subject, (rounds, each), &mut checks);
        }
    }
    if all == 0 {
        let why = Outcome::Skipped("no device with MSI-X and a driver offers a reset");
        checks.record("device", &why, format_args!(""));
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("resets"))
}

/// A device that can be reset.
struct Subject<'a> {
    function: &'a Function,
    name: &'static str,
    register: ResetRegister,
    recovery_ms: u64,
}

impl<'a> Subject<'a> {
    fn new(function: &'a Function, recovery_ms: u64) -> Option<Self> {
        let register = ResetRegister::of(function)?;
        let name = devices::name(function)?;
        println!("{name} {}: {register:?}", function.address);
        Some(Self { function, name, register, recovery_ms })
    }

    /// The driver, and the table as registers.
    fn open(&self, checks: &mut Checks) -> Option<(Device, RawMsixTable)> {
        Some((setup::driver(self.function, checks)?, RawMsixTable::open(self.function)?))
    }

    /// Resets the device, and has the driver begin anew; `None` if it is not then as a reset leaves it.
    fn reset(&self, device: &mut Device, table: &RawMsixTable) -> Option<()> {
        let after = self.register.reset(self.recovery_ms);
        let capability = table.capability();
        let entries = || 0..u32::from(table.len());
        let masked = entries().all(|index| table.is_masked(index));
        let pending = entries().any(|index| table.is_pending(index));
        let AfterReset { answers, command, addresses } = after;
        let right =
            answers && (command, addresses) == (0, 0) && capability == (false, false) && masked && !pending;
        if !right {
            println!(
                "{}: {after:?}, Enable and Function Mask {capability:?}, masked: {masked}, pending: {pending}",
                self.name
            );
        }
        device.init();
        right.then_some(())
    }
}
