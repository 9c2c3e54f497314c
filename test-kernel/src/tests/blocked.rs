//! A guest that means ill: it writes pairs that it was not given into a table that it owns. The remapping unit must
//! block each, nobody must be interrupted, and the VM must go on.
//!
//! The victim's table is written by the kernel itself here, past the types of `pvir-guest`, which would not do it.

use crate::harness::checks::{Checks, Outcome};
use crate::harness::compat;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::device_id;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::{self, Function};
use crate::remapping::{Kernel, Session};
use pvir_guest::abi::Pair;
use pvir_guest::{Irte, MapRequest, MsiCapability, Origin, Target};
use pvir_test_kernel::cmdline::CommandLine;

const OWN: u8 = 0x40;
const FOREIGN: u8 = 0x41;
/// How long a blocked message is given to arrive after all.
const LONG_QUIET_MS: u64 = 200;
/// The entry that is attacked from; entry 0 is the control.
const ATTACKER: u16 = 1;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let served = || functions.iter().filter(|function| devices::name(function).is_some());
    let victim = served().find(|function| function.msix().is_some());
    let other = served().find(|function| victim.is_none_or(|victim| victim.address != function.address));
    match victim {
        Some(victim) => attack(&session, victim, (other, of_another_vm(line)), &mut checks),
        None => checks.record("victim", &Outcome::Skipped("no device with MSI-X"), format_args!("")),
    }
    Ok(checks.finish("blocked"))
}

/// `foreign-address=` and `foreign-data=`: a live pair of another VM, which a guest can come by only if it is told.
fn of_another_vm(line: CommandLine<'static>) -> Option<Pair> {
    let number = |key| line.number(key).ok().flatten();
    let data = u32::try_from(number("foreign-data")?).ok()?;
    Some(Pair { address: number("foreign-address")?, data })
}

/// `victim` is the device whose table is written; pairs are taken from the other device, and from another VM.
fn attack(
    session: &Session,
    victim: &Function,
    (other, another_vm): (Option<&Function>, Option<Pair>),
    checks: &mut Checks,
) {
    let Some(id) = device_id(victim.address) else { return };
    let (Ok(Some(mut driver)), Some(apic_id)) = (devices::probe(victim), boot_apic_id()) else {
        return checks.expect("driver", false, format_args!("{id}: no driver"));
    };
    driver.init();
    let Some(table) = RawMsixTable::open_masked(victim) else {
        return checks.expect("table", false, format_args!("{id}: no table"));
    };
    let own = session.map(MapRequest::new(Origin::msix(id, 0), Target::fixed(apic_id, OWN)));
    let own = match own {
        Ok(own) => own,
        Err(error) => return checks.expect("map", false, format_args!("{error}")),
    };
    let mut field = Field { driver, table, checks };
    field.control("control", 0, own.pair());
    field.control("own-pair-elsewhere", ATTACKER, own.pair());
    field.blocked("absent-handle", absent(own.pair()));
    field.foreign(session, other, apic_id);
    field.stale(session, id, apic_id);
    if let Some(pair) = another_vm {
        field.blocked("pair-of-another-vm", pair);
    }
    field.control("control-after", 0, own.pair());
    report::checkpoint("attacked");
    field.table.set_masked(0, true);
    let released = session.unmap(own);
    field.checks.expect("release", released.is_ok(), format_args!("{id}"));
}

fn boot_apic_id() -> Option<u32> {
    cpu::by_index(0).map(|cpu| cpu.apic_id)
}

/// A pair of the same form that names no IRTE. In remappable format the handle is in the address, in AMD's form it is
/// the data.
fn absent(own: Pair) -> Pair {
    const REMAPPABLE: u64 = 1 << 4;
    const LAST_HANDLE: u64 = 0x7fff << 5;
    if own.address & REMAPPABLE != 0 {
        Pair { address: own.address | LAST_HANDLE, ..own }
    } else {
        Pair { data: 0x7fe, ..own }
    }
}

struct Field<'c> {
    driver: Device,
    table: RawMsixTable,
    checks: &'c mut Checks,
}

impl Field<'_> {
    fn raise_with(&mut self, entry: u16, pair: Pair) -> u64 {
        let before = interrupts::grand_total();
        if !compat::program(&self.table, entry, (pair.address, pair.data)) {
            log::warn!("entry {entry} does not keep {pair}");
        }
        self.driver.raise(entry);
        before
    }

    /// A pair that must work: the own one.
    fn control(&mut self, name: &str, entry: u16, pair: Pair) {
        let before = interrupts::total(OWN);
        self.raise_with(entry, pair);
        let came = wait_until(PATIENCE_MS, || interrupts::total(OWN) == before + 1);
        self.driver.acknowledge(entry);
        self.table.set_masked(entry.into(), true);
        self.checks.expect(name, came, format_args!("entry {entry}, {pair}: delivered {came}"));
    }

    /// A pair that must reach nobody.
    fn blocked(&mut self, name: &str, pair: Pair) {
        let before = self.raise_with(ATTACKER, pair);
        let came = wait_until(LONG_QUIET_MS, || interrupts::grand_total() != before);
        self.driver.acknowledge(ATTACKER);
        self.table.set_masked(ATTACKER.into(), true);
        report::event("attack", |event| {
            event
                .str("name", name)
                .hex("address", pair.address)
                .num("data", pair.data)
                .flag("delivered", came);
        });
        self.checks.expect(name, !came, format_args!("{pair}: nothing arrived anywhere: {}", !came));
    }

    /// The live pair of another device.
    fn foreign(&mut self, session: &Session, other: Option<&Function>, apic_id: u32) {
        let reason = Outcome::Skipped("no second device");
        let Some(other) = other else { return self.checks.record("foreign-pair", &reason, format_args!("")) };
        let Some(id) = device_id(other.address) else { return };
        // Possession of the second device's message, so that its IRTE is as live as can be.
        let held = MsiCapability::open(Kernel, id).and_then(|capability| capability.claim(1));
        let origin = if other.msix().is_some() { Origin::msix(id, 0) } else { Origin::msi(id, 1) };
        match session.map(MapRequest::new(origin, Target::fixed(apic_id, FOREIGN))) {
            Ok(irte) => {
                // Where pairs are indices into a device's own table, the number is an own one in this device.
                let own_table = irte.pair().address & 1 << 4 == 0;
                if own_table {
                    let reason = Outcome::Skipped("pairs are per device here: a foreign one is an own one");
                    self.checks.record("foreign-pair", &reason, format_args!("{}", irte.pair()));
                } else {
                    self.blocked("foreign-pair", irte.pair());
                }
                self.unmap(session, irte);
            }
            Err(error) => self.checks.expect("foreign-pair", false, format_args!("{error}")),
        }
        drop(held);
    }

    /// A pair that was given back.
    fn stale(&mut self, session: &Session, id: pvir_guest::abi::DeviceId, apic_id: u32) {
        match session.map(MapRequest::new(Origin::msix(id, ATTACKER.into()), Target::fixed(apic_id, FOREIGN)))
        {
            Ok(irte) => {
                let pair = irte.pair();
                self.unmap(session, irte);
                self.blocked("stale-pair", pair);
            }
            Err(error) => self.checks.expect("stale-pair", false, format_args!("{error}")),
        }
    }

    fn unmap(&mut self, session: &Session, irte: Irte) {
        if let Err(failed) = session.unmap(irte) {
            self.checks.expect("unmap", false, format_args!("{failed}"));
        }
    }
}
