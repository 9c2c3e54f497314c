//! A machine that is saved in the middle of its interrupts and goes on in another process, again and again: pairs are stale,
//! and the recovery of `pvir-guest` loses nothing and sees nothing twice.
//!
//! Who reads the console saves the machine when it is asked, and starts another one from the file. Each busy entry has
//! numbers, as in `events`: an interrupt is lost if the last number is never seen. It has come twice if, at the end of a
//! round, more interrupts of the entry came than were raised in the round; what the recovery raises in software is no
//! interrupt here, and is counted apart. Nor is what was raised in the round before and came late. In two rounds of four each
//! entry is raised once and no more, so that nothing merged can hide one that came twice. Two more entries are raised once before the save, one masked and one parked: each
//! comes once after it was taken again, and before anything is raised in software.
//!
//! With `by=attach` the devices are handed over one at a time (ATTACH): the first one is, and a second one goes on with
//! trapped messages.

mod held;
mod unattached;

use super::events::traffic::{self, ENTRIES, Pace, Traffic};
use crate::harness::checks::Checks;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::{self, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::{self, Function, device_id};
use crate::println;
use crate::remapping::{self, Kernel, Session};
use arrayvec::ArrayVec;
use core::fmt;
use held::Held;
use pvir_guest::abi::DeviceId;
use pvir_guest::{Advice, Entry, Live, MapRequest, MsixEntry, MsixTable, Notify, Target};
use pvir_test_kernel::cmdline::CommandLine;
use unattached::Unattached;

/// Rounds unless `rounds=` says otherwise.
const ROUNDS: u64 = 5;
const FIRST_VECTOR: u8 = 0x50;
const HELD_VECTOR: u8 = 0x60;
const NOTIFY_VECTOR: u8 = 0x70;
/// Milliseconds for a program that is asked by a line on the console.
const HOST_MS: u64 = 30_000;
/// Milliseconds of traffic after the recovery.
const AFTERWARDS_MS: u64 = 10;
/// How fast the device raises in each round, in turn.
const PACES: [Pace; 4] =
    [Pace::new(100, u32::MAX), Pace::new(2_000, u32::MAX), Pace::new(100, 1), Pace::new(100, 1)];

type LiveEntry = Entry<MsixEntry<Kernel>, Live>;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let cpu = cpu::by_index(1 % cpu::count().max(1)).map_or(0, |cpu| cpu.apic_id);
    let notify = Notify::new(cpu, NOTIFY_VECTOR);
    let by_device = line.value("by") == Some("attach");
    let session = if by_device {
        let session = remapping::open_by_device_with(line, notify).map_err(|error| setup::refuse(&error))?;
        setup::report_session(&session);
        session
    } else {
        setup::open_with(line, Some(notify))?
    };
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let mut devices = setup::with_msix(&functions);
    let first = devices.next();
    let mut other = by_device.then(|| devices.next().and_then(Unattached::open)).flatten();
    let attached = match first.and_then(|function| device_id(function.address)) {
        Some(id) if by_device => session.attach(id).is_ok(),
        _ => !by_device,
    };
    checks.expect("attached", attached && other.is_some() == by_device, format_args!("{by_device}"));
    match first.and_then(|function| Field::open(function, &session)) {
        Some(mut field) => {
            let went = (0..rounds).try_for_each(|round| {
                field.round(round)?;
                other.as_mut().map_or(Ok(()), |other| other.goes_on(&session, round))
            });
            let failed = went.as_ref().err();
            checks.expect("lost", went.is_ok() && rounds > 0, format_args!("none was lost: {failed:?}"));
            let Figures { twice, .. } = field.figures;
            checks.expect("twice", twice == 0, format_args!("{twice} came twice"));
            let came = interrupts::total(NOTIFY_VECTOR);
            let detail = format_args!("{came} announcements of {rounds} restores");
            checks.expect("notify", (1..=rounds).contains(&came), detail);
            field.close(rounds);
        }
        None => checks.expect("device", false, format_args!("no device with MSI-X, or no entry of it")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("saves"))
}

/// What went wrong, and in which round.
enum Failed {
    NoEvent(u64),
    NotAnnounced(u64),
    Advice(u64, Option<Advice>),
    Recovery(u64),
    /// What was held, and how often it came.
    Held(u64, &'static str, u64),
    /// An entry, the number that was raised last, and the one that was seen.
    Unseen(u64, usize, u32, u32),
    /// Of the device that is not attached.
    Unattached(u64, &'static str),
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvent(round) => write!(f, "round {round}: no event came"),
            Self::NotAnnounced(round) => write!(f, "round {round}: the event was not announced"),
            Self::Advice(round, advice) => write!(f, "round {round}: the advice is {advice:?}"),
            Self::Recovery(round) => write!(f, "round {round}: an entry cannot be taken again"),
            Self::Held(round, what, came) => write!(f, "round {round}: what was {what} came {came} times"),
            Self::Unseen(round, entry, raised, seen) => {
                write!(f, "round {round}: entry {entry} raised {raised}, seen {seen}")
            }
            Self::Unattached(round, what) => {
                write!(f, "round {round}: the device that is not attached {what}")
            }
        }
    }
}

/// What all rounds came to, of the busy entries.
#[derive(Default)]
struct Figures {
    raised: u64,
    handled: u64,
    in_software: u64,
    /// More interrupts than were raised, of an entry in a round.
    twice: u64,
    /// The device was found reset.
    found_reset: u64,
}

struct Field<'a> {
    session: &'a Session,
    traffic: Traffic,
    table: MsixTable<Kernel>,
    entries: ArrayVec<Option<LiveEntry>, ENTRIES>,
    held: ArrayVec<Held, 2>,
    figures: Figures,
    /// Of each busy entry: what was raised in the round before and has not come.
    outstanding: [u64; ENTRIES],
}

fn vector(number: usize) -> u8 {
    FIRST_VECTOR + u8::try_from(number).unwrap_or(0)
}

fn handler(vector: u8) {
    traffic::see(usize::from(vector - FIRST_VECTOR));
}

/// Maps an entry, and has it live.
fn take(session: &Session, table: &MsixTable<Kernel>, index: u32, vector: u8) -> Option<LiveEntry> {
    let cpu = cpu::by_index(index as usize % cpu::count()).map_or(0, |cpu| cpu.apic_id);
    let request = MapRequest::new(table.origin(index), Target::fixed(cpu, vector));
    let irte = session.map(request).ok()?;
    Some(table.claim(index)?.program(irte).ok()?.unmask())
}

impl<'a> Field<'a> {
    fn open(function: &Function, session: &'a Session) -> Option<Self> {
        let id: DeviceId = device_id(function.address)?;
        let mut driver = devices::probe(function).ok()??;
        driver.init();
        let table = MsixTable::open(Kernel, id).ok()?;
        let most = table.len().min(driver.vectors().into());
        let (mut entries, mut held) = (ArrayVec::new(), ArrayVec::new());
        for number in 0..ENTRIES {
            interrupts::set_handler(vector(number), Some(handler));
            entries.push(Some(take(session, &table, u32::try_from(number).ok()?, vector(number))?));
        }
        for (index, kind) in
            (u32::try_from(ENTRIES).unwrap_or(u32::MAX)..most).zip([held::Kind::Masked, held::Kind::Parked])
        {
            let vector = HELD_VECTOR + u8::try_from(index).ok()?;
            held.push(Held::new(
                kind,
                u16::try_from(index).ok()?,
                vector,
                take(session, &table, index, vector)?,
            ));
        }
        let traffic = Traffic::new(function, driver, entries.len())?;
        println!("{id}: {} entries, {}", entries.len(), traffic.describe());
        Some(Self {
            session,
            traffic,
            table,
            entries,
            held,
            figures: Figures::default(),
            outstanding: [0; ENTRIES],
        })
    }

    fn round(&mut self, round: u64) -> Result<(), Failed> {
        let (epoch, announced) = (self.session.epoch(), interrupts::total(NOTIFY_VECTOR));
        let before: ArrayVec<_, ENTRIES> = (0..self.entries.len()).map(Count::of).collect();
        let pace = PACES[usize::try_from(round % PACES.len() as u64).unwrap_or(0)];
        for held in &mut self.held {
            held.raise(self.session, self.traffic.driver()).ok_or(Failed::Recovery(round))?;
        }
        self.traffic.start_at(pace);
        println!("@pvir-save-wanted");
        let (session, traffic) = (self.session, &mut self.traffic);
        let came = wait_until(HOST_MS, || {
            traffic.go_on_at(pace);
            session.epoch() > epoch
        });
        if !came {
            return Err(Failed::NoEvent(round));
        }
        if !wait_until(PATIENCE_MS, || interrupts::total(NOTIFY_VECTOR) > announced) {
            return Err(Failed::NotAnnounced(round));
        }
        self.figures.found_reset += u64::from(self.traffic.set_up_again());
        for held in &mut self.held {
            let came = held.comes(self.session).ok_or(Failed::Recovery(round))?;
            if came != 1 {
                return Err(Failed::Held(round, held.what(), came));
            }
        }
        self.recover(round)?;
        self.traffic.go_on_at(pace);
        if self.traffic.is_of_device() && pace.is_endless() {
            wait_until(AFTERWARDS_MS, || false);
        }
        self.traffic.stop();
        self.all_seen(round)?;
        // What comes twice comes soon.
        wait_until(QUIET_MS, || false);
        for held in &self.held {
            match held.came() {
                1 => {}
                came => return Err(Failed::Held(round, held.what(), came)),
            }
        }
        for (number, before) in before.iter().enumerate() {
            let Count { raised, handled } = Count::of(number).since(before);
            self.figures.raised += raised;
            self.figures.handled += handled;
            // What a busy host delivers late, after the round in which it was raised, has not come twice.
            let late = core::mem::replace(&mut self.outstanding[number], raised.saturating_sub(handled));
            self.figures.twice += handled.saturating_sub(raised + late);
        }
        Ok(())
    }

    /// Does what the driver says, for each busy entry.
    fn recover(&mut self, round: u64) -> Result<(), Failed> {
        for number in 0..self.entries.len() {
            let Some(mut entry) = self.entries[number].take() else { return Err(Failed::Recovery(round)) };
            let advice = self.session.advise(&mut entry).ok();
            if advice != Some(Advice::Reacquire) {
                return Err(Failed::Advice(round, advice));
            }
            let again = self.session.reacquire(entry).map_err(|_| Failed::Recovery(round))?;
            self.entries[number] = Some(again.raise_once(|_| handler(vector(number))));
            self.figures.in_software += 1;
        }
        Ok(())
    }

    fn all_seen(&self, round: u64) -> Result<(), Failed> {
        for number in 0..self.entries.len() {
            let seen = || traffic::seen(number);
            if !wait_until(PATIENCE_MS, || seen() == traffic::raised(number)) {
                return Err(Failed::Unseen(round, number, traffic::raised(number), seen()));
            }
        }
        Ok(())
    }

    fn close(self, rounds: u64) {
        let Self { session, table, entries, held, figures, .. } = self;
        let Figures { raised, handled, in_software, twice, found_reset } = figures;
        report::event("saves", |event| {
            event
                .num("rounds", rounds)
                .num("raised", raised)
                .num("handled", handled)
                .num("in_software", in_software)
                .num("held", rounds * held.len() as u64)
                .num("twice", twice)
                .num("found_reset", found_reset);
        });
        let held = held.into_iter().filter_map(Held::into_entry);
        for entry in entries.into_iter().flatten().chain(held) {
            if let Ok(programmed) = entry.mask() {
                let (_masked, irte) = programmed.retire();
                let _ = session.unmap(irte);
            }
        }
        drop(table);
    }
}

/// How often a busy entry was raised, and how often its interrupt came.
struct Count {
    raised: u64,
    handled: u64,
}

impl Count {
    fn of(number: usize) -> Self {
        Self { raised: traffic::raised(number).into(), handled: interrupts::total(vector(number)) }
    }

    fn since(&self, before: &Self) -> Self {
        Self { raised: self.raised - before.raised, handled: self.handled - before.handled }
    }
}
