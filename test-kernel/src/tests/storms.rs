//! A device that raises interrupts as fast as it can until the host cuts it off: it is silent from then on, the guest is
//! told, and after a reset it serves again. With `trapped` no guest has enabled pvir: it is silent all the same.
//!
//! An emulated device storms by itself, on a thread of its own. Another one is driven to it by this kernel. How long it
//! took is an event, and no check: on a busy machine the host's thread that looks for storms comes late.

mod trapped;

use crate::harness::checks::Checks;
use crate::harness::live_device::{LiveDevice, give_back, take_again};
use crate::harness::live_entries::LiveEntry;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, cycles, khz, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::emulated::Emulated;
use crate::machine::devices::{Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::reset::{RECOVERY_MS, ResetRegister};
use crate::machine::pci::{self, Function};
use crate::println;
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::{DeviceId, EventReason};
use pvir_guest::{Advice, MsixTable, Notify, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// Rounds unless `rounds=` says otherwise.
const ROUNDS: u64 = 2;
/// Entries that storm.
const ENTRIES: usize = 2;
const FIRST_VECTOR: u8 = 0x50;
const NOTIFY_VECTOR: u8 = 0x70;
/// Most rounds of the rate generator, and the shortest time between two: seconds of storm.
const STORM_ROUNDS: u32 = 1 << 20;
const STORM_INTERVAL: u32 = 1;
/// What this kernel raises between two looks at the epoch, where the device does not storm by itself.
const AT_ONCE: u32 = 16;
/// Milliseconds for a program that is asked by a line on the console.
const HOST_MS: u64 = 30_000;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let by = LetGo::from(line.value("reset"));
    if line.flag("trapped") {
        return Ok(trapped::run(rounds, by));
    }
    let cpu = cpu::by_index(0).map_or(0, |cpu| cpu.apic_id);
    let session = setup::open_with(line, Some(Notify::new(cpu, NOTIFY_VECTOR)))?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    match setup::with_msix(&functions).next().and_then(|function| Stormy::open(function, &session)) {
        Some(mut stormy) => {
            let went = (0..rounds).try_for_each(|round| stormy.round(round, by));
            let failed = went.as_ref().err();
            let detail = format_args!("{rounds} storms ended by the host, and served again: {failed:?}");
            checks.expect("storms", went.is_ok() && rounds > 0, detail);
            stormy.close();
        }
        None => checks.expect("device", false, format_args!("no device with MSI-X, or no entry of it")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("storms"))
}

/// How a device is let go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LetGo {
    /// By a register of its own, which stands for the host's operator.
    Register,
    /// By the host's operator, who is asked by a line on the console: `reset=host`.
    Host,
    /// By a function level reset: `reset=guest`.
    Guest,
}

impl From<Option<&str>> for LetGo {
    fn from(word: Option<&str>) -> Self {
        match word {
            Some("host") => Self::Host,
            Some("guest") => Self::Guest,
            _ => Self::Register,
        }
    }
}

impl LetGo {
    /// Milliseconds until the device goes on.
    fn patience(self) -> u64 {
        if self == Self::Host { HOST_MS } else { PATIENCE_MS }
    }

    /// Has it go on; `None` if it offers no reset, or does not answer after it.
    fn let_go(self, function: &Function, id: DeviceId, driver: &mut Device) -> Option<()> {
        match self {
            Self::Register => driver.demand_event(EventReason::NONE.0),
            Self::Host => println!("@pvir-event-wanted {} {id}", EventReason::NONE.0),
            Self::Guest => {
                ResetRegister::of(function)?.reset(RECOVERY_MS).answers.then_some(())?;
                driver.init();
                RawMsixTable::open(function)?.set_capability(true, false);
            }
        }
        Some(())
    }
}

/// What went wrong, and in which round.
enum Failed {
    NotCutOff(u64),
    NotAnnounced(u64),
    NotSilent(u64, u64),
    Advice(u64, Option<Advice>),
    NoReset(u64),
    Recovery(u64),
    NotServed(u64, usize),
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCutOff(round) => write!(f, "round {round}: the device storms on"),
            Self::NotAnnounced(round) => write!(f, "round {round}: the cut was not announced"),
            Self::NotSilent(round, came) => write!(f, "round {round}: {came} interrupts came after the cut"),
            Self::Advice(round, advice) => write!(f, "round {round}: the advice is {advice:?}"),
            Self::NoReset(round) => write!(f, "round {round}: the device cannot be reset"),
            Self::Recovery(round) => write!(f, "round {round}: an entry cannot be taken again"),
            Self::NotServed(round, entry) => write!(f, "round {round}: entry {entry} is not served again"),
        }
    }
}

struct Stormy<'a> {
    session: &'a Session,
    function: Function,
    id: DeviceId,
    driver: Device,
    generator: Option<Emulated>,
    _table: MsixTable<Kernel>,
    entries: ArrayVec<Option<LiveEntry>, ENTRIES>,
}

fn vector(number: usize) -> u8 {
    FIRST_VECTOR + u8::try_from(number).unwrap_or(0)
}

impl<'a> Stormy<'a> {
    fn open(function: &Function, session: &'a Session) -> Option<Self> {
        // Not the CPU that looks, where there is another.
        let cpu = cpu::by_index(cpu::count().max(1) - 1).map_or(0, |cpu| cpu.apic_id);
        let target = |number| Target::fixed(cpu, vector(number));
        let LiveDevice { id, driver, table, entries } = LiveDevice::open(function, session, target)?;
        let generator = Emulated::open(function).map(|(_, generator)| generator);
        let by = if generator.is_some() { "by itself" } else { "driven by this kernel" };
        println!("{id}: {} entries, storms {by}", entries.len());
        Some(Self { session, function: *function, id, driver, generator, _table: table, entries })
    }

    fn round(&mut self, round: u64, by: LetGo) -> Result<(), Failed> {
        let (epoch, announced) = (self.session.epoch(), interrupts::total(NOTIFY_VECTOR));
        let (before, begun) = (self.handled(), cycles());
        self.start();
        if !wait_until(PATIENCE_MS, || self.storm() && self.session.epoch() > epoch) {
            return Err(Failed::NotCutOff(round));
        }
        let milliseconds = cycles().wrapping_sub(begun) / khz().max(1);
        if !wait_until(PATIENCE_MS, || interrupts::total(NOTIFY_VECTOR) > announced) {
            return Err(Failed::NotAnnounced(round));
        }
        self.silent(round)?;
        let handled = self.handled() - before;
        report::event("storm", |event| {
            event.num("round", round).num("milliseconds", milliseconds).num("handled", handled);
        });
        self.recover(round, by)?;
        self.served(round)
    }

    fn start(&mut self) {
        if let Some(generator) = &self.generator {
            let entries = u32::try_from(self.entries.len()).unwrap_or(1);
            generator.run(0, entries, STORM_INTERVAL, STORM_ROUNDS);
        }
    }

    /// Goes on with the storm, if the device does not by itself.
    fn storm(&mut self) -> bool {
        if self.generator.is_none() {
            for _ in 0..AT_ONCE {
                for number in 0..u16::try_from(self.entries.len()).unwrap_or(0) {
                    self.driver.raise(number);
                    self.driver.acknowledge(number);
                }
            }
        }
        true
    }

    fn handled(&self) -> u64 {
        (0..self.entries.len()).map(|number| interrupts::total(vector(number))).sum()
    }

    /// Nothing comes any more, though the device storms on.
    fn silent(&mut self, round: u64) -> Result<(), Failed> {
        // What was delivered before the cut is handled first.
        wait_until(QUIET_MS, || !self.storm());
        let before = self.handled();
        wait_until(QUIET_MS, || !self.storm());
        let came = self.handled() - before;
        if came == 0 { Ok(()) } else { Err(Failed::NotSilent(round, came)) }
    }

    /// Resets the device, and takes each entry again.
    fn recover(&mut self, round: u64, by: LetGo) -> Result<(), Failed> {
        if let Some(generator) = &self.generator {
            generator.stop();
        }
        for number in 0..self.entries.len() {
            let Some(mut entry) = self.entries[number].take() else { return Err(Failed::Recovery(round)) };
            let advice = self.session.advise(&mut entry).ok();
            // The first entry has let the device go on.
            let expected = if number == 0 { Advice::ResetDevice } else { Advice::Reacquire };
            if advice != Some(expected) {
                return Err(Failed::Advice(round, advice));
            }
            if number == 0 && by.let_go(&self.function, self.id, &mut self.driver).is_none() {
                return Err(Failed::NoReset(round));
            }
            let Some(again) = take_again(self.session, entry, by.patience()) else {
                return Err(Failed::Recovery(round));
            };
            // A handler here has nothing to do: that it is called is counted.
            self.entries[number] = Some(again.raise_once(|_| ()));
        }
        Ok(())
    }

    fn served(&mut self, round: u64) -> Result<(), Failed> {
        for number in 0..self.entries.len() {
            let before = interrupts::total(vector(number));
            let of_device = u16::try_from(number).unwrap_or(0);
            self.driver.raise(of_device);
            let came = wait_until(PATIENCE_MS, || interrupts::total(vector(number)) > before);
            self.driver.acknowledge(of_device);
            if !came {
                return Err(Failed::NotServed(round, number));
            }
        }
        Ok(())
    }

    fn close(self) {
        give_back(self.session, self.entries.into_iter().flatten());
    }
}
