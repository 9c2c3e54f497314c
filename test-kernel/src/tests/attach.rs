//! A busy device is taken late and given back, again and again, and no interrupt is lost on the way (A5, A7).
//!
//! The device raises at a rate of its own, and writes a number before each interrupt. A handler notes the number that
//! it finds. An interrupt is lost if the last number is never seen. In every other round the device is silent before
//! its entries are programmed anew: then only what was held can show the last number, and the device sends the pairs of the
//! round before. The epoch stays as it is.

use super::events::traffic::{self, ENTRIES, Traffic};
use crate::harness::checks::Checks;
use crate::harness::former::{Former, Undead};
use crate::harness::{compat, setup};
use crate::machine::console::report;
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
use pvir_guest::abi::{DeviceId, Status};
use pvir_guest::{Error, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// Rounds unless `rounds=` says otherwise.
const ROUNDS: u64 = 100;
const FIRST_VECTOR: u8 = 0x50;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let (rounds, each) = (setup::number(line, "rounds", ROUNDS)?, setup::each(line)?);
    let functions = pci::enumerate();
    let mut checks = Checks::new();
    // It is live before ENABLE, as under a driver that was loaded before pvir.
    let field = setup::with_msix(&functions).next().and_then(Field::open);
    let session = remapping::open_by_device(line).map_err(|error| setup::refuse(&error))?;
    setup::report_session(&session);
    match field {
        Some(mut field) => {
            let mut done = 0;
            setup::baseline(done, each);
            let outcome = (0..rounds).try_for_each(|round| {
                field.round(&session, round)?;
                done += 1;
                setup::baseline(done, each);
                Ok::<_, Failed>(())
            });
            let detail = format_args!("{done} of {rounds} times taken and given back");
            checks.expect("attached", done == rounds && rounds > 0, detail);
            let failed = outcome.err();
            checks.expect("lost", failed.is_none(), format_args!("every last number was seen: {failed:?}"));
            field.report();
        }
        None => checks.expect("device", false, format_args!("no device with MSI-X and a rate of its own")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("attach"))
}

/// What went wrong, and in which round.
enum Failed {
    Host(u64, Error),
    Undead(u64, Undead),
    /// The epoch before and after.
    Epoch(u64, u64, u64),
    /// An entry, the number that was raised last, and the one that was seen; before or after DETACH.
    Unseen(u64, usize, u32, u32, bool),
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(round, error) => write!(f, "round {round}: {error}"),
            Self::Undead(round, undead) => write!(f, "round {round}: given back, and not dead: {undead:?}"),
            Self::Epoch(round, before, after) => write!(f, "round {round}: epoch {before} is now {after}"),
            Self::Unseen(round, entry, raised, seen, attached) => {
                write!(f, "round {round}: entry {entry} raised {raised}, seen {seen}, attached {attached}")
            }
        }
    }
}

struct Field {
    id: DeviceId,
    table: RawMsixTable,
    traffic: Traffic,
    entries: usize,
    /// What the round before had.
    former: Former<ENTRIES>,
}

/// Trapped, an entry has one vector, and attached another.
fn vector(number: usize, attached: bool) -> u8 {
    let place = number + if attached { ENTRIES } else { 0 };
    FIRST_VECTOR + u8::try_from(place).unwrap_or(0)
}

fn apic_id(number: usize) -> u32 {
    cpu::by_index(number % cpu::count().max(1)).map_or(0, |cpu| cpu.apic_id)
}

fn handler(vector: u8) {
    traffic::see(usize::from(vector - FIRST_VECTOR) % ENTRIES);
}

impl Field {
    fn open(function: &Function) -> Option<Self> {
        let id = device_id(function.address)?;
        let mut driver = devices::probe(function).ok()??;
        driver.init();
        let table = RawMsixTable::open_masked(function)?;
        let entries = ENTRIES.min(driver.vectors().into()).min(table.len().into());
        for number in 0..entries {
            for attached in [false, true] {
                interrupts::set_handler(vector(number, attached), Some(handler));
            }
        }
        let traffic = Traffic::new(function, driver, entries)?;
        table.set_capability(true, false);
        println!("{id}: {entries} entries, {}", traffic.describe());
        let field = Self { id, table, traffic, entries, former: Former::none() };
        field.program_own()?;
        Some(field)
    }

    /// Writes the kernel's own messages.
    fn program_own(&self) -> Option<()> {
        for number in 0..self.entries {
            let message = compat::message(apic_id(number), vector(number, false))?;
            compat::program(&self.table, u16::try_from(number).ok()?, message);
        }
        Some(())
    }

    fn round(&mut self, session: &Session, round: u64) -> Result<(), Failed> {
        let silent = round % 2 == 1;
        let failed = |error| Failed::Host(round, error);
        let undead = |undead| Failed::Undead(round, undead);
        let epoch = session.epoch();
        self.traffic.start();
        self.traffic.go_on();
        let device = session.attach(self.id).map_err(failed)?;
        self.former.answer(session, Status::STALE_HANDLE).map_err(undead)?;
        self.traffic.go_on();
        if silent {
            self.traffic.finish();
            self.former.reach_nobody(&self.table, self.traffic.driver()).map_err(undead)?;
        }
        let mut irtes = ArrayVec::new();
        for number in 0..self.entries {
            let index = u32::try_from(number).unwrap_or(0);
            let target = Target::fixed(apic_id(number), vector(number, true));
            let irte = session.map(device.msix(index, target)).map_err(failed)?;
            self.former.is_not(&irte).map_err(undead)?;
            self.table.set_pair(index, irte.pair());
            self.table.set_masked(index, false);
            irtes.push(irte);
        }
        self.traffic.finish();
        self.all_seen(round, true)?;
        self.traffic.start();
        self.traffic.go_on();
        session.detach(device).map_err(|detach| failed(detach.error))?;
        self.former = Former::of(irtes);
        self.former.answer(session, Status::NOT_ATTACHED).map_err(undead)?;
        self.traffic.go_on();
        if silent {
            self.traffic.finish();
        }
        self.program_own();
        self.traffic.finish();
        self.all_seen(round, false)?;
        let now = session.epoch();
        if now == epoch { Ok(()) } else { Err(Failed::Epoch(round, epoch, now)) }
    }

    fn all_seen(&self, round: u64, attached: bool) -> Result<(), Failed> {
        for number in 0..self.entries {
            let seen = || traffic::seen(number) == traffic::raised(number);
            if !wait_until(PATIENCE_MS, seen) {
                let (raised, seen) = (traffic::raised(number), traffic::seen(number));
                return Err(Failed::Unseen(round, number, raised, seen, attached));
            }
        }
        Ok(())
    }

    fn report(&self) {
        self.table.mask_all();
        for number in 0..self.entries {
            let handled = [false, true].map(|attached| interrupts::total(vector(number, attached)));
            report::event("numbers", |event| {
                event
                    .num("entry", u32::try_from(number).unwrap_or(0))
                    .num("raised", traffic::raised(number))
                    .num("trapped", handled[0])
                    .num("attached", handled[1]);
            });
        }
    }
}
