//! DISABLE and ENABLE while a device is busy, again and again: the epoch goes up, every handle and pair of before is
//! dead, and the interrupts that this kernel raises once in software lose none.
//!
//! As in [`super::attach`] each interrupt has a number, and one is lost if the last number is never seen. In every other
//! round the device is silent when its entries are mapped again: then only the interrupt in software can show the last
//! number, and the device sends the old pairs.

use super::events::traffic::{self, ENTRIES, Traffic};
use crate::harness::checks::Checks;
use crate::harness::former::{Former, Undead};
use crate::harness::setup;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::{self, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::{self, Function, device_id};
use crate::println;
use crate::remapping::{self, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::{DeviceId, Pair, Status};
use pvir_guest::{Error, Irte, MapRequest, Origin, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// Rounds unless `rounds=` says otherwise.
const ROUNDS: u64 = 50;
const FIRST_VECTOR: u8 = 0x50;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let (rounds, each) = (setup::number(line, "rounds", ROUNDS)?, setup::each(line)?);
    let mut session = setup::open(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    match setup::with_msix(&functions).next().and_then(Field::open) {
        Some(mut field) => {
            let mut done = 0;
            let first = session.epoch();
            let mut outcome = field.map_all(&session);
            setup::baseline(done, each);
            while outcome.is_ok() && done < rounds {
                match field.round(session, done) {
                    Ok(again) => session = again,
                    Err(failed) => {
                        checks.expect("sessions", false, format_args!("round {done}: {failed:?}"));
                        return Ok(checks.finish("sessions"));
                    }
                }
                done += 1;
                setup::baseline(done, each);
                outcome = field.map_is_alive(&session);
            }
            let detail = format_args!(
                "{done} of {rounds} times disabled and enabled, every last number was seen, every old handle and pair \
                 is dead; epoch {first} to {}: {:?}",
                session.epoch(),
                outcome.err()
            );
            checks.expect("sessions", done == rounds && rounds > 0, detail);
        }
        None => checks.expect("device", false, format_args!("no device with MSI-X and a rate of its own")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("sessions"))
}

/// What went wrong.
enum Failed {
    Host(Error),
    /// The epoch before DISABLE, and that after ENABLE.
    Epoch(u64, u64),
    /// An entry is not masked, or not zero, after DISABLE.
    NotZero(u32),
    Undead(Undead),
    /// An entry, the number that was raised last, and the one that was seen.
    Unseen(usize, u32, u32),
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(error) => write!(f, "{error}"),
            Self::Epoch(before, after) => write!(f, "epoch {before} is followed by {after}"),
            Self::NotZero(entry) => write!(f, "entry {entry} is not masked and zero after DISABLE"),
            Self::Undead(undead) => write!(f, "given back, and not dead: {undead:?}"),
            Self::Unseen(entry, raised, seen) => write!(f, "entry {entry} raised {raised}, seen {seen}"),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

impl From<Undead> for Failed {
    fn from(undead: Undead) -> Self {
        Self::Undead(undead)
    }
}

struct Field {
    id: DeviceId,
    table: RawMsixTable,
    traffic: Traffic,
    entries: u32,
    /// Those of this session.
    irtes: ArrayVec<Irte, ENTRIES>,
}

fn vector(number: u32) -> u8 {
    FIRST_VECTOR + u8::try_from(number).unwrap_or(0)
}

fn handler(vector: u8) {
    traffic::see(usize::from(vector - FIRST_VECTOR));
}

impl Field {
    fn open(function: &Function) -> Option<Self> {
        let id = device_id(function.address)?;
        let mut driver = devices::probe(function).ok()??;
        driver.init();
        let table = RawMsixTable::open_masked(function)?;
        let entries = ENTRIES.min(driver.vectors().into()).min(table.len().into());
        let entries = u32::try_from(entries).ok()?;
        (0..entries).for_each(|number| interrupts::set_handler(vector(number), Some(handler)));
        let traffic = Traffic::new(function, driver, entries as usize)?;
        println!("{id}: {entries} entries, {}", traffic.describe());
        Some(Self { id, table, traffic, entries, irtes: ArrayVec::new() })
    }

    /// Maps, programs and unmasks each entry.
    fn map_all(&mut self, session: &Session) -> Result<(), Failed> {
        for number in 0..self.entries {
            let cpu = cpu::by_index(number as usize % cpu::count().max(1)).map_or(0, |cpu| cpu.apic_id);
            let target = Target::fixed(cpu, vector(number));
            let irte = session.map(MapRequest::new(Origin::msix(self.id, number), target))?;
            self.table.set_pair(number, irte.pair());
            self.table.set_masked(number, false);
            self.irtes.push(irte);
        }
        Ok(())
    }

    fn map_is_alive(&self, session: &Session) -> Result<(), Failed> {
        self.irtes.iter().try_for_each(|irte| session.verify(irte).map(|_| ())).map_err(Failed::Host)
    }

    /// Answers with the session that follows.
    fn round(&mut self, session: Session, round: u64) -> Result<Session, Failed> {
        let silent = round % 2 == 1;
        let epoch = session.epoch();
        self.traffic.start();
        self.traffic.go_on();
        let disabled = session.disable().map_err(|failed| Failed::Host(failed.error))?;
        let zero = |entry: &u32| self.table.is_masked(*entry) && self.table.pair(*entry) == Pair::default();
        if let Some(entry) = (0..self.entries).find(|entry| !zero(entry)) {
            return Err(Failed::NotZero(entry));
        }
        self.traffic.go_on();
        let session = remapping::enable_again(disabled)?;
        if session.epoch() <= epoch {
            return Err(Failed::Epoch(epoch, session.epoch()));
        }
        let former = Former::of(core::mem::take(&mut self.irtes));
        former.answer(&session, Status::STALE_HANDLE)?;
        if silent {
            self.traffic.finish();
            former.reach_nobody(&self.table, self.traffic.driver())?;
        }
        self.map_all(&session)?;
        self.irtes.iter().try_for_each(|irte| former.is_not(irte))?;
        // What was raised meanwhile may be lost (X1, T2).
        (0..self.entries).for_each(|number| handler(vector(number)));
        self.traffic.go_on();
        self.traffic.finish();
        for number in 0..self.entries as usize {
            let seen = || traffic::seen(number) == traffic::raised(number);
            if !wait_until(PATIENCE_MS, seen) {
                return Err(Failed::Unseen(number, traffic::raised(number), traffic::seen(number)));
            }
        }
        Ok(session)
    }
}
