//! A guest that means ill, in bulk: `times=` messages of each class that it was not given, from an entry of its own device.
//! None may arrive here, and whoever started this kernel sees to it that none arrives elsewhere.
//!
//! [`blocked`](super::blocked) does each once, and waits for each. Here nothing is waited for until a class is over.

mod messages;

use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::memory::dma::Dma;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::{self, Function, device_id};
use crate::println;
use crate::remapping::Session;
use messages::Messages;
use pvir_guest::abi::Pair;
use pvir_guest::{Irte, MapRequest, Origin, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// Messages of each class unless `times=` says otherwise, and of those by DMA unless `dma=` does: each takes a tenth of a second.
const TIMES: u64 = 100;
const DMA: u64 = 5;
/// How long the last one is given to arrive after all.
const LONG_QUIET_MS: u64 = 100;
const OWN: u8 = 0x40;
const FOREIGN: u8 = 0x41;
/// The entry that is attacked from; entry 0 is the control.
const ATTACKER: u16 = 1;
/// A sign of life after so many.
const PROGRESS: u64 = 1_000;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let times = setup::number(line, "times", TIMES)?;
    let dma = setup::number(line, "dma", DMA)?;
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let attacker = setup::with_msix(&functions).next();
    match attacker.and_then(|function| Field::open(&session, function)) {
        Some(mut field) => {
            let known = field.own.pair();
            field.control("control", &mut checks);
            field.class("absent", times, Messages::absent(known), &mut checks);
            for (name, key) in [("other-vm", "foreign"), ("host", "host")] {
                match given(line, key) {
                    Some(pair) if messages::are_shared(known) => {
                        field.class(name, times, Messages::one(pair), &mut checks);
                    }
                    _ => checks.record(
                        name,
                        &Outcome::Skipped("none was named, or pairs are per device"),
                        format_args!(""),
                    ),
                }
            }
            field.other_device(&session, &functions, times, &mut checks);
            field.stale(&session, times, &mut checks);
            field.class("random", times, Messages::random(known), &mut checks);
            field.by_dma(&functions, dma, Messages::absent(known), &mut checks);
            field.control("control-after", &mut checks);
            checks.expect("release", session.unmap(field.own).is_ok(), format_args!("given back"));
        }
        None => checks.expect("device", false, format_args!("no device with MSI-X, or no entry of it")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("isolation"))
}

/// `foreign-address=` and `foreign-data=`, a live pair of another VM; `host-` one of the host's own devices.
fn given(line: CommandLine<'static>, whose: &str) -> Option<Pair> {
    let [address, data] = match whose {
        "host" => ["host-address", "host-data"],
        _ => ["foreign-address", "foreign-data"],
    };
    let number = |key| line.number(key).ok().flatten();
    Some(Pair { address: number(address)?, data: u32::try_from(number(data)?).ok()? })
}

struct Field {
    function: Function,
    driver: Device,
    table: RawMsixTable,
    own: Irte,
    apic_id: u32,
}

impl Field {
    fn open(session: &Session, function: &Function) -> Option<Self> {
        let mut driver = devices::probe(function).ok()??;
        driver.init();
        let table = RawMsixTable::open_masked(function)?;
        let apic_id = cpu::by_index(0)?.apic_id;
        let origin = Origin::msix(device_id(function.address)?, 0);
        let own = session.map(MapRequest::new(origin, Target::fixed(apic_id, OWN))).ok()?;
        Some(Self { function: *function, driver, table, own, apic_id })
    }

    fn send(&mut self, entry: u16, pair: Pair) {
        self.table.set_masked_at_once(entry.into(), true);
        self.table.set_pair(entry.into(), pair);
        self.table.set_masked_at_once(entry.into(), false);
        self.driver.raise(entry);
        self.driver.acknowledge(entry);
    }

    /// The own pair, which must work.
    fn control(&mut self, name: &str, checks: &mut Checks) {
        let before = interrupts::total(OWN);
        self.send(0, self.own.pair());
        let came = wait_until(PATIENCE_MS, || interrupts::total(OWN) > before);
        self.table.set_masked(0, true);
        checks.expect(name, came, format_args!("{}: delivered {came}", self.own.pair()));
    }

    /// So many messages, none of which may arrive.
    fn class(&mut self, name: &str, times: u64, messages: Messages, checks: &mut Checks) {
        let before = interrupts::grand_total();
        for (number, pair) in (0..times).zip(messages) {
            self.send(ATTACKER, pair);
            if number % PROGRESS == PROGRESS - 1 {
                println!("{name}: {}", number + 1);
            }
        }
        wait_until(LONG_QUIET_MS, || interrupts::grand_total() != before);
        self.table.set_masked(ATTACKER.into(), true);
        told(name, times, interrupts::grand_total() - before, checks);
    }

    /// The live pair of another device of this VM.
    fn other_device(
        &mut self,
        session: &Session,
        functions: &pci::Functions,
        times: u64,
        checks: &mut Checks,
    ) {
        let other = setup::with_msix(functions).find(|function| function.address != self.function.address);
        let id = other.and_then(|function| device_id(function.address));
        let Some(id) = id.filter(|_| messages::are_shared(self.own.pair())) else {
            let reason = Outcome::Skipped("no second device, or pairs are per device");
            return checks.record("other-device", &reason, format_args!(""));
        };
        let target = Target::fixed(self.apic_id, FOREIGN);
        match session.map(MapRequest::new(Origin::msix(id, 0), target)) {
            Ok(irte) => {
                self.class("other-device", times, Messages::one(irte.pair()), checks);
                let _ = session.unmap(irte);
            }
            Err(error) => checks.expect("other-device", false, format_args!("{error}")),
        }
    }

    /// Pairs that were given back, each tried a few times before there is another.
    fn stale(&mut self, session: &Session, times: u64, checks: &mut Checks) {
        let Some(id) = device_id(self.function.address) else { return };
        let request =
            MapRequest::new(Origin::msix(id, ATTACKER.into()), Target::fixed(self.apic_id, FOREIGN));
        let Ok(irte) = session.map(request) else {
            return checks.expect("stale", false, format_args!("MAP failed"));
        };
        let pair = irte.pair();
        let given_back = session.unmap(irte).is_ok();
        checks.expect("given-back", given_back, format_args!("{pair}"));
        self.class("stale", times, Messages::one(pair), checks);
    }

    /// Writes by DMA to where messages go, for handles that nobody has.
    fn by_dma(&mut self, functions: &pci::Functions, times: u64, messages: Messages, checks: &mut Checks) {
        let edu = functions.iter().find_map(|function| match devices::probe(function) {
            Ok(Some(Device::Edu(edu))) => Some(edu),
            _ => None,
        });
        let (Some(edu), Some(word)) = (edu, Dma::allocate(4)) else {
            let reason = Outcome::Skipped("no device that writes by DMA");
            return checks.record("dma", &reason, format_args!(""));
        };
        let before = interrupts::grand_total();
        let from = u32::try_from(word.address()).ok();
        let done = (0..times).zip(messages).all(|(_, Pair { address, data })| {
            word.write(0, data);
            let to = u32::try_from(address).ok();
            from.zip(to).is_some_and(|(from, to)| edu.copy_word(from, to))
        });
        wait_until(LONG_QUIET_MS, || interrupts::grand_total() != before);
        checks.expect("dma-done", done, format_args!("the device has made its {times} writes: {done}"));
        told("dma", times, interrupts::grand_total() - before, checks);
    }
}

fn told(name: &str, times: u64, delivered: u64, checks: &mut Checks) {
    report::event("isolation", |event| {
        event.str("class", name).num("attempts", times).num("delivered", delivered);
    });
    checks.expect(name, delivered == 0, format_args!("{times} attempts, {delivered} delivered here"));
}
