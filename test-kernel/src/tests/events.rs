//! Events while a device is busy: its pairs go stale, or it is cut off, and the recovery of `pvir-guest` loses nothing.
//!
//! Each interrupt has a number that goes up before it is raised, written by the emulated device itself, which raises at a
//! rate of its own, or by this kernel. A handler notes the number that it finds. An interrupt is lost if the last number
//! is never seen. In every other round the entries are unmasked with their dead pairs, so that the device sends what it held
//! into the void, and nothing is raised any more when the recovery begins: then only the interrupt that it raises in
//! software can show the last number.

pub(super) mod traffic;

use crate::harness::checks::Checks;
use crate::harness::live_device::{LiveDevice, give_back, take_again};
use crate::harness::live_entries::LiveEntry;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::Trigger;
use crate::machine::exit::ExitCode;
use crate::machine::pci::{self, Function};
use crate::println;
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::{DeviceId, EventReason};
use pvir_guest::{Advice, Entry, MsixTable, Notify, Target};
use pvir_test_kernel::cmdline::CommandLine;
use traffic::{ENTRIES, Traffic};

/// Rounds unless `rounds=` says otherwise.
const ROUNDS: u64 = 60;
/// Every so many rounds the device is cut off, otherwise its pairs go stale.
const CUT_OFF_EACH: u64 = 3;
const FIRST_VECTOR: u8 = 0x50;
/// Where events are announced, unless `notify=off`.
const NOTIFY_VECTOR: u8 = 0x70;
/// Milliseconds for a program that is asked by a line on the console.
const HOST_MS: u64 = 30_000;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let by = match line.value("events") {
        Some("host") => By::Host,
        _ => By::Device,
    };
    // Not on the CPU that asks for events, where there is another.
    let cpu = cpu::by_index(1 % cpu::count().max(1)).map_or(0, |cpu| cpu.apic_id);
    let notify = line.value("notify") != Some("off");
    let session = setup::open_with(line, notify.then(|| Notify::new(cpu, NOTIFY_VECTOR)))?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    match setup::with_msix(&functions).next().and_then(|function| Field::open(function, &session, notify)) {
        Some(mut field) => {
            let sees_all = field.go(rounds, by);
            let Field { events, cut_off, in_software, .. } = field;
            let detail = format_args!(
                "{events} events, {cut_off} of them cut the device off, {in_software} in software"
            );
            checks.expect("events", events == rounds && rounds > 0, detail);
            let failed = sees_all.as_ref().err();
            checks.expect("lost", failed.is_none(), format_args!("every last number was seen: {failed:?}"));
            let came = interrupts::total(NOTIFY_VECTOR);
            let detail =
                format_args!("{came} announcements, {}", if notify { "wanted" } else { "not wanted" });
            checks.expect("notify", if notify { came > 0 && came <= events } else { came == 0 }, detail);
            field.close();
        }
        None => checks.expect("device", false, format_args!("no device with MSI-X, or no entry of it")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("events"))
}

/// Who raises the events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The device, by a register of its own.
    Device,
    /// Whoever reads the console.
    Host,
}

impl By {
    /// Milliseconds for whoever is asked.
    fn patience(self) -> u64 {
        if self == Self::Device { PATIENCE_MS } else { HOST_MS }
    }
}

/// What went wrong, and in which round.
enum Failed {
    NoEvent(u64),
    NotAnnounced(u64),
    Advice(u64, Option<Advice>),
    Recovery(u64),
    /// An entry, the number that was raised last, and the one that was seen.
    Unseen(u64, u32, u32, u32),
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvent(round) => write!(f, "round {round}: no event came"),
            Self::NotAnnounced(round) => write!(f, "round {round}: the event was not announced"),
            Self::Advice(round, advice) => write!(f, "round {round}: the advice is {advice:?}"),
            Self::Recovery(round) => write!(f, "round {round}: an entry cannot be taken again"),
            Self::Unseen(round, entry, raised, seen) => {
                write!(f, "round {round}: entry {entry} raised {raised}, seen {seen}")
            }
        }
    }
}

struct Field<'a> {
    session: &'a Session,
    id: DeviceId,
    traffic: Traffic,
    _table: MsixTable<Kernel>,
    entries: ArrayVec<Option<LiveEntry>, ENTRIES>,
    announced: bool,
    events: u64,
    cut_off: u64,
    in_software: u64,
}

fn vector(number: usize) -> u8 {
    FIRST_VECTOR + u8::try_from(number).unwrap_or(0)
}

fn handler(vector: u8) {
    traffic::see(usize::from(vector - FIRST_VECTOR));
}

impl<'a> Field<'a> {
    fn open(function: &Function, session: &'a Session, announced: bool) -> Option<Self> {
        (0..ENTRIES).for_each(|number| interrupts::set_handler(vector(number), Some(handler)));
        let target = |number| {
            let cpu = cpu::by_index(number % cpu::count()).map_or(0, |cpu| cpu.apic_id);
            Target::fixed(cpu, vector(number))
        };
        let LiveDevice { id, driver, table, entries } = LiveDevice::open(function, session, target)?;
        let traffic = Traffic::new(function, driver, entries.len())?;
        println!("{id}: {} entries, {}", entries.len(), traffic.describe());
        let (events, cut_off, in_software) = (0, 0, 0);
        Some(Self { session, id, traffic, _table: table, entries, announced, events, cut_off, in_software })
    }

    fn go(&mut self, rounds: u64, by: By) -> Result<(), Failed> {
        for round in 0..rounds {
            self.round(round, by)?;
        }
        Ok(())
    }

    fn round(&mut self, round: u64, by: By) -> Result<(), Failed> {
        let cut_off = round % CUT_OFF_EACH == CUT_OFF_EACH - 1;
        let reason = if cut_off { EventReason::DEVICE_CUT_OFF } else { EventReason::STALE_PAIRS };
        let (epoch, announced) = (self.session.epoch(), interrupts::total(NOTIFY_VECTOR));
        self.traffic.start();
        self.demand(reason, by);
        let (session, traffic) = (self.session, &mut self.traffic);
        let came = wait_until(by.patience(), || {
            traffic.go_on();
            session.epoch() > epoch
        });
        if !came {
            return Err(Failed::NoEvent(round));
        }
        if self.announced && !wait_until(PATIENCE_MS, || interrupts::total(NOTIFY_VECTOR) > announced) {
            return Err(Failed::NotAnnounced(round));
        }
        self.events += 1;
        self.cut_off += u64::from(cut_off);
        if round % 2 == 1 {
            // As a driver does that has masked them in its handler and knows nothing yet: what was held is sent with the
            // dead pair, and lost.
            self.entries.iter().flatten().for_each(Entry::unmask_in_place);
            self.traffic.go_on();
            self.traffic.finish();
        }
        self.recover(round, cut_off, by)?;
        self.traffic.finish();
        self.all_seen(round)
    }

    /// Does what the driver says, for each entry.
    fn recover(&mut self, round: u64, cut_off: bool, by: By) -> Result<(), Failed> {
        for number in 0..self.entries.len() {
            let Some(mut entry) = self.entries[number].take() else { return Err(Failed::Recovery(round)) };
            let advice = self.session.advise(&mut entry).ok();
            // The first entry of a device that was cut off has let it go on.
            let expected = if cut_off && number == 0 { Advice::ResetDevice } else { Advice::Reacquire };
            if advice != Some(expected) {
                return Err(Failed::Advice(round, advice));
            }
            if expected == Advice::ResetDevice {
                self.demand(EventReason::NONE, by);
            }
            let Some(again) = take_again(self.session, entry, by.patience()) else {
                return Err(Failed::Recovery(round));
            };
            self.entries[number] = Some(again.raise_once(|_| handler(vector(number))));
            self.in_software += 1;
        }
        Ok(())
    }

    fn all_seen(&self, round: u64) -> Result<(), Failed> {
        for number in 0..self.entries.len() {
            let seen = || traffic::seen(number);
            if !wait_until(PATIENCE_MS, || seen() == traffic::raised(number)) {
                let entry = u32::try_from(number).unwrap_or(0);
                return Err(Failed::Unseen(round, entry, traffic::raised(number), seen()));
            }
        }
        Ok(())
    }

    /// By the register of a device that has one, otherwise by a line for whoever runs the host.
    fn demand(&mut self, reason: EventReason, by: By) {
        match by {
            By::Device => self.traffic.driver().demand_event(reason.0),
            By::Host => println!("@pvir-event-wanted {} {}", reason.0, self.id),
        }
    }

    fn close(self) {
        for number in 0..self.entries.len() {
            report::event("numbers", |event| {
                event
                    .num("entry", u32::try_from(number).unwrap_or(0))
                    .num("raised", traffic::raised(number))
                    .num("handled", interrupts::total(vector(number)));
            });
        }
        give_back(self.session, self.entries.into_iter().flatten());
    }
}
