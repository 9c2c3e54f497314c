//! All entries of all devices in one call, whatever their stores; then all devices raise all of them at once, and each
//! interrupt must be handled once, on its processor, with its vector, and nowhere else.

use crate::harness::checks::Checks;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::device_id;
use crate::machine::pci::{self, Function};
use crate::remapping::{Kernel, Session};
use crate::{cpu, println};
use arrayvec::ArrayVec;
use pvir_guest::abi::DeviceId;
use pvir_guest::{
    BatchMode, EitherStore, Entry, EntryError, Irte, Live, MapRequest, MapResult, Masked, MsiCapability,
    MsiStore, MsixEntry, MsixTable, NOT_MAPPED, Origin, Target,
};
use pvir_test_kernel::cmdline::CommandLine;

const MAX_DEVICES: usize = 8;
/// Most entries of a device, and of all; they lie on the stack.
const MAX_OF_DEVICE: usize = 16;
const MAX: usize = 48;
const FIRST_VECTOR: u8 = 0x40;
/// How often each entry is raised, unless `interrupts=` says otherwise.
const ROUNDS: u64 = 100;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "interrupts", ROUNDS)?;
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let served = functions.iter().filter(|function| devices::name(function).is_some());
    let mut units: ArrayVec<Unit, MAX_DEVICES> = served.take(MAX_DEVICES).filter_map(Unit::open).collect();
    checks.expect("devices", units.len() > 1, format_args!("{} devices with a driver", units.len()));
    together(&session, &mut units, rounds, &mut checks);
    setup::close(session, &mut checks);
    Ok(checks.finish("several"))
}

/// A device, and its table if it has one.
struct Unit {
    id: DeviceId,
    name: &'static str,
    driver: Device,
    table: Option<MsixTable<Kernel>>,
}

impl Unit {
    fn open(function: &Function) -> Option<Self> {
        let mut driver = devices::probe(function).ok().flatten()?;
        driver.init();
        let id = device_id(function.address)?;
        Some(Self { id, name: devices::name(function)?, driver, table: MsixTable::open(Kernel, id).ok() })
    }
}

/// The entries that the driver has a use for.
fn claim(
    id: DeviceId,
    table: Option<&MsixTable<Kernel>>,
    vectors: u16,
) -> ArrayVec<Any<Masked>, MAX_OF_DEVICE> {
    if let Some(table) = table {
        let indices = (0..table.len().min(vectors.into())).take(MAX_OF_DEVICE);
        let claimed = indices.filter_map(|index| table.claim(index));
        return claimed.filter_map(|entry| any(EitherStore::First(entry.release()))).collect();
    }
    let claimed = MsiCapability::open(Kernel, id).and_then(|capability| capability.claim(1));
    claimed.ok().and_then(|entry| any(EitherStore::Second(entry.release()))).into_iter().collect()
}

fn any(store: EitherStore<MsixEntry<Kernel>, MsiStore<Kernel>>) -> Option<Any<Masked>> {
    Entry::claim(store).ok()
}

/// An entry of either store.
type Any<S> = Entry<EitherStore<MsixEntry<Kernel>, MsiStore<Kernel>>, S>;

/// An entry's device and number there, and where it goes.
struct RoutedEntry {
    unit: usize,
    number: u16,
    cpu: usize,
    apic_id: u32,
    vector: u8,
}

impl RoutedEntry {
    /// Entry `order` of all gets a vector of its own, and processors in turn.
    fn new(unit: usize, number: u16, order: usize) -> Self {
        let cpu = order % cpu::count().max(1);
        let apic_id = cpu::by_index(cpu).map_or(0, |cpu| cpu.apic_id);
        Self {
            unit,
            number,
            cpu,
            apic_id,
            vector: FIRST_VECTOR.saturating_add(u8::try_from(order).unwrap_or(u8::MAX)),
        }
    }

    fn request(&self, origin: Origin) -> MapRequest {
        MapRequest::new(origin, Target::fixed(self.apic_id, self.vector))
    }

    fn handled(&self) -> u64 {
        interrupts::count(self.cpu, self.vector)
    }

    fn elsewhere(&self) -> u64 {
        interrupts::total(self.vector) - self.handled()
    }
}

fn together(session: &Session, units: &mut [Unit], rounds: u64, checks: &mut Checks) {
    let mut drivers: ArrayVec<&mut Device, MAX_DEVICES> = ArrayVec::new();
    let mut entries: ArrayVec<Any<Masked>, MAX> = ArrayVec::new();
    let mut places: ArrayVec<RoutedEntry, MAX> = ArrayVec::new();
    for (unit, Unit { id, name, driver, table }) in units.iter_mut().enumerate() {
        let claimed = claim(*id, table.as_ref(), driver.vectors());
        println!("{name} {id}: {} entries", claimed.len());
        for (number, entry) in (0..).zip(claimed).take(entries.remaining_capacity()) {
            places.push(RoutedEntry::new(unit, number, places.len()));
            entries.push(entry);
        }
        drivers.push(driver);
    }
    report::checkpoint("opened");
    let Some(live) = map(session, entries, &places, checks) else { return };
    report::checkpoint("mapped");
    raise(&mut drivers, &places, rounds, checks);
    report::checkpoint("raised");
    unmap(session, live, checks);
    report::checkpoint("unmapped");
}

/// All in one call.
fn map(
    session: &Session,
    entries: ArrayVec<Any<Masked>, MAX>,
    places: &[RoutedEntry],
    checks: &mut Checks,
) -> Option<ArrayVec<Any<Live>, MAX>> {
    let requests: ArrayVec<MapRequest, MAX> =
        entries.iter().zip(places).map(|(entry, place)| place.request(entry.origin())).collect();
    let mut results: ArrayVec<MapResult, MAX> = requests.iter().map(|_| NOT_MAPPED).collect();
    let granted = session.map_batch(&requests, &mut results, BatchMode::AllOrNothing);
    let started = entries
        .into_iter()
        .zip(results)
        .filter_map(|(entry, result)| Some(entry.program(result.ok()?).ok()?.unmask()));
    let live: ArrayVec<Any<Live>, MAX> = started.collect();
    let all = live.len() == requests.len();
    checks.expect(
        "map",
        all,
        format_args!("{} entries of all devices in one call: {granted:?}", requests.len()),
    );
    report::event("mapped", |event| {
        event.num("entries", live.len() as u64);
    });
    all.then_some(live)
}

/// In each round every entry is raised before the first is waited for.
fn raise(drivers: &mut [&mut Device], places: &[RoutedEntry], rounds: u64, checks: &mut Checks) {
    let mut lost = 0_u64;
    for _ in 0..rounds {
        let before: ArrayVec<u64, MAX> = places.iter().map(RoutedEntry::handled).collect();
        for place in places {
            drivers[place.unit].raise(place.number);
        }
        for (place, before) in places.iter().zip(before) {
            lost += u64::from(!wait_until(PATIENCE_MS, || place.handled() > before));
            drivers[place.unit].acknowledge(place.number);
        }
        if lost > 0 {
            break;
        }
    }
    let handled: u64 = places.iter().map(RoutedEntry::handled).sum();
    let elsewhere: u64 = places.iter().map(RoutedEntry::elsewhere).sum();
    let exact = places.iter().all(|place| {
        let (once, handled) = (!drivers[place.unit].repeats(), place.handled());
        if once { handled == rounds } else { handled >= rounds }
    });
    checks.expect(
        "delivered",
        exact && lost == 0 && elsewhere == 0,
        format_args!(
            "{} entries, {rounds} rounds: {handled} handled, {elsewhere} elsewhere, {lost} lost",
            places.len()
        ),
    );
}

/// All in one call.
fn unmap(session: &Session, live: ArrayVec<Any<Live>, MAX>, checks: &mut Checks) {
    let wanted = live.len();
    let stopped = live.into_iter().filter_map(|entry| Some(entry.mask().ok()?.retire().1));
    let mut irtes: ArrayVec<Option<Irte>, MAX> = stopped.map(Some).collect();
    let mut results: ArrayVec<_, MAX> = irtes.iter().map(|_| Err(EntryError::NotAsked)).collect();
    let given = session.unmap_batch(&mut irtes, &mut results, BatchMode::AllOrNothing);
    checks.expect("unmap", given == Ok(wanted), format_args!("{wanted} entries in one call: {given:?}"));
}
