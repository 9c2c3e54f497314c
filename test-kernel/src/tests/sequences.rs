//! A device that is busy while the kernel is: it raises at a rate of its own, and writes how often it has raised into the
//! kernel's RAM before each interrupt. So the handler tells interrupts that were merged from interrupts that were lost.
//! And a message in the kernel's RAM: held while it is masked there, sent when the doorbell says that it no longer is.

use crate::harness::checks::Checks;
use crate::harness::live_entries::LiveTable;
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::Trigger;
use crate::machine::devices::emulated::Emulated;
use crate::machine::exit::ExitCode;
use crate::machine::memory::dma::Dma;
use crate::println;
use crate::remapping::Session;
use core::sync::atomic::{AtomicU32, Ordering};
use pvir_guest::abi::DeviceId;
use pvir_guest::{Entry, MapRequest, Origin, Target};
use pvir_test_kernel::cmdline::CommandLine;
use spin::Once;

/// Interrupts that take part, on a vector and a processor each.
const INTERRUPTS: u32 = 4;
const FIRST_VECTOR: u8 = 0x50;
const IMS_VECTOR: u8 = 0x70;
/// Rounds unless `rounds=` says otherwise, and microseconds from one to the next.
const ROUNDS: u64 = 500;
const INTERVAL: u32 = 300;

/// Where the device writes.
static AREA: Once<Dma> = Once::new();
/// The number that each handler saw last, and how often one was lower than the one before.
static SEEN: [AtomicU32; INTERRUPTS as usize] = [const { AtomicU32::new(0) }; INTERRUPTS as usize];
static BACKWARDS: AtomicU32 = AtomicU32::new(0);

fn sequence(number: u32) -> u32 {
    AREA.get().map_or(0, |area| area.read(u64::from(number) * 8))
}

fn handler(vector: u8) {
    let number = u32::from(vector - FIRST_VECTOR);
    let Some(seen) = SEEN.get(number as usize) else { return };
    let now = sequence(number);
    if seen.swap(now, Ordering::Relaxed) > now {
        BACKWARDS.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = u32::try_from(setup::number(line, "rounds", ROUNDS)?).unwrap_or(u32::MAX);
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    match (Emulated::find(), Dma::allocate(u64::from(INTERRUPTS) * 8)) {
        (Some((id, mut driver)), Some(area)) => {
            let area = AREA.call_once(|| area);
            driver.write_sequences(area.address());
            busy(&session, id, &driver, rounds, &mut checks);
            let rang = doorbell(&session, id, &mut driver);
            checks.expect(
                "doorbell",
                rang == Some(true),
                format_args!("held while masked, sent once: {rang:?}"),
            );
        }
        _ => checks.expect("device", false, format_args!("no emulated device with MSI-X, or no memory")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("sequences"))
}

/// Nothing if the host has no IMS, or the device no place.
fn doorbell(session: &Session, id: DeviceId, driver: &mut Emulated) -> Option<bool> {
    let origin = Origin::ims(id, 0);
    let place = Entry::claim(driver.ims_location(0, origin)?).ok()?;
    let irte =
        session.map(MapRequest::new(origin, Target::fixed(cpu::current().apic_id, IMS_VECTOR))).ok()?;
    let programmed = place.program(irte).ok()?;
    let came = || interrupts::total(IMS_VECTOR);
    driver.raise_ims(0);
    driver.raise_ims(0);
    let quiet = !wait_until(QUIET_MS, || came() > 0);
    let live = programmed.unmask();
    let once = wait_until(PATIENCE_MS, || came() == 1);
    driver.raise_ims(0);
    let again = wait_until(PATIENCE_MS, || came() == 2);
    let (_place, irte) = live.mask().ok()?.retire();
    session.unmap(irte).ok()?;
    Some(quiet && once && again)
}

fn busy(session: &Session, id: DeviceId, driver: &Emulated, rounds: u32, checks: &mut Checks) {
    let mut table = match LiveTable::open(id) {
        Ok(table) => table,
        Err(error) => return checks.expect("map", false, format_args!("{error}")),
    };
    let vector = |number: u32| FIRST_VECTOR + u8::try_from(number).unwrap_or(0);
    (0..INTERRUPTS).for_each(|number| interrupts::set_handler(vector(number), Some(handler)));
    let target = |number: u32| {
        let cpu = cpu::by_index(number as usize % cpu::count()).map_or(0, |cpu| cpu.apic_id);
        Target::fixed(cpu, vector(number))
    };
    let mapped = table.extend(session, INTERRUPTS, target);
    checks.expect("map", mapped.is_ok(), format_args!("{} entries: {:?}", table.live().len(), mapped.err()));
    driver.run(0, INTERRUPTS, INTERVAL, rounds);
    let over = wait_until(PATIENCE_MS * 3, || driver.rounds_left() == 0);
    checks.expect("rate", over, format_args!("{rounds} rounds were raised while this CPU did other things"));
    let (mut lost, mut handled) = (0, 0);
    for number in 0..INTERRUPTS {
        let there = sequence(number);
        let last = || SEEN.get(number as usize).map_or(0, |seen| seen.load(Ordering::Relaxed));
        let all = wait_until(PATIENCE_MS, || last() == there);
        let came = interrupts::total(vector(number));
        lost += u64::from(!all || there != rounds);
        handled += came;
        report::event("sequence", |event| {
            event
                .num("number", number)
                .num("raised", there)
                .num("last_seen", last())
                .num("handled", came)
                .num("merged", u64::from(there).saturating_sub(came));
        });
    }
    let raised = u64::from(rounds) * u64::from(INTERRUPTS);
    checks.expect("lost", lost == 0, format_args!("the last number of each was seen: {lost} were not"));
    let merged = raised.saturating_sub(handled);
    checks.expect(
        "handled",
        handled > 0 && handled <= raised,
        format_args!("{raised} raised, {handled} handled, {merged} merged in a local APIC"),
    );
    let backwards = BACKWARDS.load(Ordering::Relaxed);
    checks.expect("order", backwards == 0, format_args!("numbers went back {backwards} times"));
    (0..INTERRUPTS).for_each(|number| interrupts::set_handler(vector(number), None));
    println!("{} DMA faults", driver.dma_faults());
    checks.expect("dma", driver.dma_faults() == 0, format_args!("every number was written"));
}
