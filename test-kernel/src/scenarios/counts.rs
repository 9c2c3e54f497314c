//! What each step costs: one thing between two checkpoints, so that a program outside can take the difference of the
//! exits and ioctls. The device is the first with MSI-X.

use super::checks::{Checks, Outcome};
use super::direct::MAX_ENTRIES;
use super::setup;
use crate::console::report;
use crate::cpu::interrupts;
use crate::cpu::time::{PATIENCE_MS, wait_until};
use crate::devices::{self, Device, Trigger};
use crate::exit::ExitCode;
use crate::pci::{self, Function};
use crate::remapping::{KERNEL, Session, device_id};
use crate::{cpu, println};
use arrayvec::ArrayVec;
use pvir_guest::{
    Entry, EntryError, Grant, Irte, Live, MapResult, Masked, MsixTable, NOT_MAPPED, Request, Store, Target,
};
use pvir_test_kernel::cmdline::CommandLine;

const FIRST_VECTOR: u8 = 0x40;
/// The vector that entry `i` has after the retarget is that much higher.
const MOVED: u8 = 0x40;
/// How often each entry is masked and unmasked.
const ROUNDS: u32 = 100;

type Entries<T, S> = ArrayVec<Entry<T, S>, MAX_ENTRIES>;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let found = setup::with_msix(&functions).next();
    match found {
        Some(function) => count(&session, function, &mut checks),
        None => checks.record("device", &Outcome::Skipped("no device with MSI-X"), format_args!("")),
    }
    Ok(checks.finish("counts"))
}

fn count(session: &Session, function: &Function, checks: &mut Checks) {
    let Some(id) = device_id(function.address) else { return };
    let (Ok(Some(mut driver)), Ok(table)) = (devices::probe(function), MsixTable::open(&KERNEL, id)) else {
        return checks.expect("device", false, format_args!("{id}: no driver or no table"));
    };
    driver.init();
    let entries: Entries<_, Masked> = (0..table.len())
        .take(usize::from(driver.vectors()).min(MAX_ENTRIES))
        .filter_map(|i| table.claim(i))
        .collect();
    println!("{id}: {} entries", entries.len());

    report::checkpoint("opened");
    let Some(irtes) = map(session, &entries, checks) else { return };
    report::checkpoint("mapped");
    let live = program(entries, irtes, checks);
    report::checkpoint("programmed");
    let Some(mut live) = mask_and_unmask(live, checks) else { return };
    report::checkpoint("masked");
    retarget(session, &mut live, checks);
    report::checkpoint("retargeted");
    raise(&mut driver, live.len(), checks);
    report::checkpoint("raised");
    unmap(session, live, checks);
    report::checkpoint("unmapped");
}

fn target(entry: usize, shift: usize, first: u8) -> Target {
    let apic_id = cpu::by_index((entry + shift) % cpu::count().max(1)).map_or(0, |cpu| cpu.apic_id);
    Target::fixed(apic_id, first.saturating_add(u8::try_from(entry).unwrap_or(u8::MAX)))
}

/// One call.
fn map<T: Store>(
    session: &Session,
    entries: &Entries<T, Masked>,
    checks: &mut Checks,
) -> Option<ArrayVec<Irte, MAX_ENTRIES>> {
    let requests: ArrayVec<Request, MAX_ENTRIES> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| Request::new(entry.origin(), target(index, 0, FIRST_VECTOR)))
        .collect();
    let mut results: ArrayVec<MapResult, MAX_ENTRIES> = requests.iter().map(|_| NOT_MAPPED).collect();
    let granted = session.map_batch(&requests, &mut results, Grant::AllOrNothing);
    let irtes: ArrayVec<Irte, MAX_ENTRIES> = results.into_iter().filter_map(Result::ok).collect();
    let all = irtes.len() == entries.len();
    checks.expect("map", all, format_args!("{} entries in one call: {granted:?}", entries.len()));
    all.then_some(irtes)
}

/// Programs and unmasks each.
fn program<T: Store>(
    entries: Entries<T, Masked>,
    irtes: ArrayVec<Irte, MAX_ENTRIES>,
    checks: &mut Checks,
) -> Entries<T, Live> {
    let wanted = entries.len();
    let programmed = entries.into_iter().zip(irtes).filter_map(|(entry, irte)| entry.program(irte).ok());
    let live: Entries<T, Live> = programmed.map(Entry::unmask).collect();
    checks.expect("program", live.len() == wanted, format_args!("{} of {wanted} entries", live.len()));
    live
}

fn mask_and_unmask<T: Store>(live: Entries<T, Live>, checks: &mut Checks) -> Option<Entries<T, Live>> {
    let mut back = Entries::new();
    for mut entry in live {
        for _ in 0..ROUNDS {
            let Ok(masked) = entry.mask() else {
                checks.expect("mask", false, format_args!("an entry does not stay masked"));
                return None;
            };
            entry = masked.unmask();
        }
        back.push(entry);
    }
    checks.expect("mask", true, format_args!("{} entries, {ROUNDS} times each", back.len()));
    Some(back)
}

/// One call.
fn retarget<T: Store>(session: &Session, live: &mut Entries<T, Live>, checks: &mut Checks) {
    let targets: ArrayVec<Target, MAX_ENTRIES> =
        (0..live.len()).map(|index| target(index, 1, FIRST_VECTOR + MOVED)).collect();
    let mut results: ArrayVec<_, MAX_ENTRIES> = targets.iter().map(|_| Err(EntryError::NotAsked)).collect();
    let moved = session.retarget_batch(live, &targets, &mut results, Grant::AllOrNothing);
    let right = moved.as_ref().is_ok_and(|moved| *moved == live.len());
    checks.expect("retarget", right, format_args!("{} entries in one call: {moved:?}", live.len()));
}

/// Each once, to its new place.
fn raise(driver: &mut Device, entries: usize, checks: &mut Checks) {
    let mut arrived = 0;
    for (entry, vector) in (0..entries).zip(FIRST_VECTOR + MOVED..) {
        let Ok(entry) = u16::try_from(entry) else { break };
        let before = interrupts::total(vector);
        driver.raise(entry);
        arrived += usize::from(wait_until(PATIENCE_MS, || interrupts::total(vector) > before));
        driver.acknowledge(entry);
    }
    checks.expect("raise", arrived == entries, format_args!("{arrived} of {entries} handled"));
}

/// Masks each, and gives all back in one call.
fn unmap<T: Store>(session: &Session, live: Entries<T, Live>, checks: &mut Checks) {
    let wanted = live.len();
    let masked = live.into_iter().filter_map(|entry| entry.mask().ok());
    let mut irtes: ArrayVec<Option<Irte>, MAX_ENTRIES> = masked.map(|entry| Some(entry.retire().1)).collect();
    let mut results: ArrayVec<_, MAX_ENTRIES> = irtes.iter().map(|_| Err(EntryError::NotAsked)).collect();
    let given = session.unmap_batch(&mut irtes, &mut results, Grant::AllOrNothing);
    let right = given.as_ref().is_ok_and(|given| *given == wanted);
    checks.expect("unmap", right, format_args!("{wanted} entries in one call: {given:?}"));
}
