//! Devices come and go while another one is busy: `@pvir-plug-wanted` and `@pvir-unplug-wanted DEVICE HOW` on the console
//! ask whoever runs the host for it. Each device that comes is attached, mapped and seen to work. It goes in one of three
//! ways: given back before it is let go, let go in the middle of its interrupts, or taken unasked. The busy one loses
//! nothing, and the host says of the one that has gone that it has.

use super::events::traffic::{self, ENTRIES, Traffic};
use crate::harness::checks::Checks;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::hotplug;
use crate::machine::pci::config::Width;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::{self, Function, device_id};
use crate::println;
use crate::remapping::{self, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::{DeviceId, Status};
use pvir_guest::{AttachedDevice, Error, Irte, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// Rounds unless `rounds=` says otherwise: four in each way.
const ROUNDS: u64 = 12;
/// The busy device has the first vectors, and the one that comes and goes those behind.
const FIRST_VECTOR: u8 = 0x50;
/// Interrupts of each entry of a device that has come.
const TIMES: u64 = 3;
/// Microseconds between two rounds of a device that goes in the middle of its interrupts.
const INTERVAL: u32 = 500;
/// Milliseconds for whoever is asked by a line on the console.
const HOST_MS: u64 = 30_000;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let session = remapping::open_by_device(line).map_err(|error| setup::refuse(&error))?;
    setup::report_session(&session);
    let busy = setup::with_msix(&functions).next().and_then(|function| Busy::open(function, &session));
    let Some(busy) = busy else {
        checks.expect("device", false, format_args!("no device with MSI-X stays"));
        return Ok(checks.finish("plug"));
    };
    report::checkpoint("busy");
    let mut done = 0;
    let is_watched = line.flag("warm");
    let outcome = (0..rounds).try_for_each(|number| {
        Round { number, session: &session }.run(&busy)?;
        done += 1;
        if done == 1 && is_watched {
            // What comes with the first device of a kind, and stays, is there from here on.
            report::checkpoint("warm");
        }
        Ok::<_, Failed>(())
    });
    let failed = outcome.err();
    let whole = done == rounds && rounds > 0 && failed.is_none();
    checks.expect("plugged", whole, format_args!("{done} of {rounds} times: {failed:?}"));
    report::checkpoint("quiet");
    let missed = busy.close();
    checks.expect(
        "lost",
        missed.is_none(),
        format_args!("of the busy device, last number unseen: {missed:?}"),
    );
    setup::close(session, &mut checks);
    Ok(checks.finish("plug"))
}

/// How a device goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Asked for, given back, and let go.
    Polite,
    /// Asked for, and let go in the middle of its interrupts.
    Abrupt,
    /// Taken.
    Unasked,
}

impl Way {
    const ALL: [Self; 3] = [Self::Polite, Self::Abrupt, Self::Unasked];
}

/// What went wrong, and in which round.
enum Failed {
    NotPlugged(u64),
    NoDriver(u64),
    Host(u64, Way, Error),
    /// An entry, and how often it came.
    Silent(u64, usize, u64),
    NotAsked(u64, Way),
    NotGone(u64, Way),
    /// What ATTACH of a device that has gone is answered with.
    Known(u64, Way, Option<Status>),
    Epoch(u64, Way, u64),
    Busy(u64, Way),
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPlugged(round) => write!(f, "round {round}: no device came"),
            Self::NoDriver(round) => write!(f, "round {round}: what has come has no MSI-X or no driver"),
            Self::Host(round, way, error) => write!(f, "round {round}, {way:?}: {error}"),
            Self::Silent(round, entry, came) => write!(f, "round {round}: entry {entry} came {came} times"),
            Self::NotAsked(round, way) => write!(f, "round {round}, {way:?}: nobody asks for the device"),
            Self::NotGone(round, way) => write!(f, "round {round}, {way:?}: the device is still there"),
            Self::Known(round, way, status) => {
                write!(f, "round {round}, {way:?}: ATTACH of what has gone: {status:?}")
            }
            Self::Epoch(round, way, epochs) => write!(f, "round {round}, {way:?}: {epochs} epochs"),
            Self::Busy(round, way) => write!(f, "round {round}, {way:?}: the busy device is silent"),
        }
    }
}

fn apic_id(number: usize) -> u32 {
    cpu::by_index(number % cpu::count().max(1)).map_or(0, |cpu| cpu.apic_id)
}

fn vector(place: usize) -> u8 {
    FIRST_VECTOR + u8::try_from(place).unwrap_or(0)
}

/// Maps the first entries of an attached device, on vectors from the one of `place` on.
fn map(
    session: &Session,
    device: &AttachedDevice,
    table: &RawMsixTable,
    count: usize,
    place: usize,
) -> Result<ArrayVec<Irte, ENTRIES>, Error> {
    table.set_capability(true, false);
    let mut irtes = ArrayVec::new();
    for number in 0..count {
        let index = u32::try_from(number).unwrap_or(0);
        let irte = session.map(device.msix(index, Target::fixed(apic_id(number), vector(place + number))))?;
        table.set_pair(index, irte.pair());
        table.set_masked(index, false);
        irtes.push(irte);
    }
    Ok(irtes)
}

/// A device that stays, and raises without end.
struct Busy {
    traffic: Traffic,
    table: RawMsixTable,
    entries: usize,
    _irtes: ArrayVec<Irte, ENTRIES>,
}

impl Busy {
    fn open(function: &Function, session: &Session) -> Option<Self> {
        let mut driver = devices::probe(function).ok()??;
        driver.init();
        let device = session.attach(device_id(function.address)?).ok()?;
        let table = RawMsixTable::open_masked(function)?;
        let entries = ENTRIES.min(driver.vectors().into()).min(table.len().into());
        for number in 0..entries {
            interrupts::set_handler(vector(number), Some(see));
        }
        let traffic = Traffic::new(function, driver, entries)?;
        let irtes = map(session, &device, &table, entries, 0).ok()?;
        traffic.run_on();
        Some(Self { traffic, table, entries, _irtes: irtes })
    }

    /// Whether its interrupts still come.
    fn goes_on(&self) -> bool {
        let total = || (0..self.entries).map(|number| interrupts::total(vector(number))).sum::<u64>();
        let before = total();
        wait_until(PATIENCE_MS, || total() > before)
    }

    /// Ends its traffic. Answers with an entry whose last number was not seen, with both numbers.
    fn close(self) -> Option<(usize, u32, u32)> {
        self.traffic.stop();
        let unseen = (0..self.entries)
            .find(|number| !wait_until(PATIENCE_MS, || traffic::seen(*number) == traffic::raised(*number)));
        self.table.mask_all();
        unseen.map(|number| (number, traffic::raised(number), traffic::seen(number)))
    }
}

fn see(vector: u8) {
    traffic::see(usize::from(vector - FIRST_VECTOR));
}

/// One device that comes and goes.
struct Round<'a> {
    number: u64,
    session: &'a Session,
}

impl Round<'_> {
    fn run(&self, busy: &Busy) -> Result<(), Failed> {
        // A thousand of these take longer than the rounds that a device can be given at once.
        busy.traffic.run_on();
        let way = Way::ALL[usize::try_from(self.number % 3).unwrap_or(0)];
        let host = |error| Failed::Host(self.number, way, error);
        let (function, place) = self.plug()?;
        let no_driver = Failed::NoDriver(self.number);
        let (Some(id), Ok(Some(mut driver))) = (device_id(function.address), devices::probe(&function))
        else {
            return Err(no_driver);
        };
        driver.init();
        let device = self.session.attach(id).map_err(host)?;
        let table = RawMsixTable::open_masked(&function).ok_or(no_driver)?;
        let count = ENTRIES.min(driver.vectors().into()).min(table.len().into());
        let irtes = map(self.session, &device, &table, count, ENTRIES).map_err(host)?;
        self.works(&mut driver, count)?;
        let epoch = self.session.epoch();
        // Its interrupts go on until it has gone.
        if let Device::Emulated(emulated) = &driver {
            emulated.run(0, u32::try_from(count).unwrap_or(1), INTERVAL, u32::MAX);
        }
        self.unplug(way, place, id, device)?;
        // Nothing of them is of any use now.
        drop(irtes);
        let is_gone = || pci::config::read_as(function.address, 0, Width::Four) == u32::MAX;
        if !wait_until(HOST_MS, is_gone) {
            return Err(Failed::NotGone(self.number, way));
        }
        let known = match self.session.attach(id) {
            Err(Error::Device { status, .. }) => Some(status.status()),
            _ => None,
        };
        if known != Some(Status::DEVICE_GONE) {
            return Err(Failed::Known(self.number, way, known));
        }
        let epochs = self.session.epoch() - epoch;
        if epochs != 1 {
            return Err(Failed::Epoch(self.number, way, epochs));
        }
        if busy.goes_on() { Ok(()) } else { Err(Failed::Busy(self.number, way)) }
    }

    /// Has a device come. Answers with its function and its number on the bus.
    fn plug(&self) -> Result<(Function, u8), Failed> {
        println!("@pvir-plug-wanted");
        let mut come = 0;
        let came = wait_until(HOST_MS, || {
            come = hotplug::up() & !hotplug::LOOK;
            come != 0
        });
        let place = u8::try_from(come.trailing_zeros()).unwrap_or(0);
        let functions = pci::enumerate();
        let found = functions.iter().find(|function| function.address.device() == place).copied();
        found.filter(|_| came).map(|function| (function, place)).ok_or(Failed::NotPlugged(self.number))
    }

    /// Every entry comes where it was mapped to.
    fn works(&self, driver: &mut Device, count: usize) -> Result<(), Failed> {
        for number in 0..count {
            let vector = vector(ENTRIES + number);
            let before = interrupts::total(vector);
            for time in 1..=TIMES {
                let index = u16::try_from(number).unwrap_or(0);
                driver.raise(index);
                let came = wait_until(PATIENCE_MS, || interrupts::total(vector) >= before + time);
                driver.acknowledge(index);
                if !came {
                    return Err(Failed::Silent(self.number, number, interrupts::total(vector) - before));
                }
            }
        }
        Ok(())
    }

    fn unplug(&self, way: Way, place: u8, id: DeviceId, device: AttachedDevice) -> Result<(), Failed> {
        println!("@pvir-unplug-wanted {id} {}", if way == Way::Unasked { "force" } else { "ask" });
        if way == Way::Unasked {
            return if wait_until(HOST_MS, || hotplug::up() & hotplug::LOOK != 0) {
                Ok(())
            } else {
                Err(Failed::NotAsked(self.number, way))
            };
        }
        if !wait_until(HOST_MS, || hotplug::down() >> place & 1 != 0) {
            return Err(Failed::NotAsked(self.number, way));
        }
        if way == Way::Polite {
            self.session.detach(device).map_err(|failed| Failed::Host(self.number, way, failed.error))?;
        }
        hotplug::eject(1 << place);
        report::event("ejected", |event| {
            event.num("round", self.number);
        });
        Ok(())
    }
}
