//! The machine resets itself in the middle of its interrupts, with everything mapped and enabled: `by=port` (the default),
//! `by=keyboard`, `by=triple`, or `by=panic` in the handler of an interrupt. Started again (`pvir run --on-reboot
//! restart`), this kernel finds the machine as at power-on, or says what is not, and does the same once more. Whoever runs
//! it ends it. With `checkpoints` it is told a handle and a pair of the boot before, which must be dead.

#![expect(unsafe_code, reason = "the ports that reset a machine")]

use crate::harness::checks::Checks;
use crate::harness::live_entries::LiveTable;
use crate::harness::setup;
use crate::machine::console::{self, report};
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, cycles, khz, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::{Device, Trigger};
use crate::machine::exit::{ExitCode, reset};
use crate::machine::hotplug;
use crate::machine::panic;
use crate::machine::pci::config::Width;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::{self, Function};
use crate::println;
use crate::raw::Raw;
use crate::remapping::{self, Session};
use core::sync::atomic::{AtomicU64, Ordering};
use pvir_guest::abi::{EntryRecord, Handle, Operation, Pair, Status, Store};
use pvir_guest::{Entry, Live, Target};
use pvir_test_kernel::cmdline::CommandLine;
use x86_64::instructions::port::Port;

/// Interrupts that take part, on vectors from this one on, and on all processors in turn.
const INTERRUPTS: u32 = 8;
const FIRST_VECTOR: u8 = 0x50;
/// How often each comes before the machine is reset.
const LEAST: u64 = 20;
/// Least microseconds between two rounds of a device that raises by itself. It has so many times longer as one round takes
/// here: a processor that is slow, or that a busy host seldom runs, would else do nothing but take the highest vectors.
const INTERVAL: u32 = 1000;
const TIMES_LONGER: u64 = 4;
/// COMMAND of a function: decode and bus mastering.
const COMMAND: u32 = 7;

/// In memory that no file fills: zero at power-on.
static BOOTED: AtomicU64 = AtomicU64::new(0);

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let mut checks = Checks::new();
    let booted = BOOTED.swap(0x5a5a, Ordering::Relaxed);
    checks.expect(
        "memory",
        booted == 0,
        format_args!("RAM is as at power-on: {booted:#x} where nothing was written"),
    );
    let functions = pci::enumerate();
    let Some(function) = setup::with_msix(&functions).next() else {
        checks.expect(
            "device",
            false,
            format_args!("no device with MSI-X that this kernel has a driver for"),
        );
        return Ok(checks.finish("reboot"));
    };
    // Those that came while the machine ran too.
    let commands = setup::with_msix(&functions)
        .map(|function| pci::config::read_as(function.address, 4, Width::Two) & COMMAND);
    let command = commands.fold(0, |all, command| all | command);
    checks.expect("command", command == 0, format_args!("nothing decodes and no DMA is done: {command:#x}"));
    let told = (hotplug::up(), hotplug::down());
    checks.expect(
        "hotplug",
        told == (0, 0),
        format_args!("nothing has come and nothing is to go: {told:x?}"),
    );
    let session = setup::open(line)?;
    let Some(mut driver) = setup::driver(function, &mut checks) else { return Ok(checks.finish("reboot")) };
    if let Some(former) = report::ask("former") {
        let dead = is_dead(line, function, &mut driver, former);
        checks.expect("former", dead == Some(true), format_args!("a handle and a pair of before: {dead:?}"));
    }
    // Its entries are masked where it is dropped: they are live until the machine is reset.
    let (handled, table) = traffic(&session, function, &mut driver, &mut checks);
    let first = table.as_ref().and_then(|table| table.live().first()).map(Entry::<_, Live>::irte);
    report::event("boot", |event| {
        event.num("epoch", session.epoch()).num("handled", handled);
        if let Some(irte) = first {
            let (handle, pair) = (irte.handle(), irte.pair());
            event.num("handle", handle.0).num("address", pair.address).num("data", pair.data);
        }
    });
    report::checkpoint("traffic");
    if !checks.all_passed() {
        return Ok(checks.finish("reboot"));
    }
    console::flush();
    (0..INTERRUPTS).for_each(|number| driver.raise(u16::try_from(number).unwrap_or(0)));
    match line.value("by").unwrap_or("port") {
        "port" => reset(),
        // SAFETY: the keyboard controller pulses the reset line, as asked for.
        "keyboard" => unsafe { Port::<u8>::new(0x64).write(0xfe) },
        "triple" => return Ok(super::crash("triple")),
        "panic" => {
            panic::resets_machine();
            interrupts::set_handler(FIRST_VECTOR, Some(panics));
            wait_until(PATIENCE_MS, || {
                driver.raise(0);
                false
            });
        }
        other => {
            println!("error: by={other} is not known (help: port, keyboard, triple or panic)");
            return Ok(ExitCode::Usage);
        }
    }
    drop(table);
    checks.expect("reset", false, format_args!("the machine goes on"));
    Ok(checks.finish("reboot"))
}

#[expect(clippy::panic, reason = "asked for")]
fn panics(vector: u8) {
    panic!("asked for on the command line, in the handler of {vector:#x}")
}

/// Whether handle, address and data of an entry 0 of before are dead: the host says so, and what the device sends with
/// the pair reaches nobody. No entry is mapped.
fn is_dead(
    line: CommandLine<'static>,
    function: &Function,
    driver: &mut Device,
    [handle, address, data]: [u64; 3],
) -> Option<bool> {
    let raw = Raw::new(remapping::discover(line).ok()?.1)?;
    let record = EntryRecord::query(pci::device_id(function.address)?, Store::MSIX, 0);
    let answer = raw.call(&Raw::header(Operation::QUERY, 1), &[record.with_handle(Handle(handle))]);
    let said: EntryRecord = raw.read(1);
    let table = RawMsixTable::open_masked(function)?;
    let before = interrupts::grand_total();
    table.set_pair(0, Pair { address, data: u32::try_from(data).ok()? });
    table.set_masked_at_once(0, false);
    driver.raise(0);
    let quiet = !wait_until(QUIET_MS, || interrupts::grand_total() > before);
    table.set_masked_at_once(0, true);
    driver.acknowledge(0);
    table.set_capability(false, false);
    let stale = (answer.status, said.status) == (Status::PARTIAL, Status::STALE_HANDLE);
    if !stale || !quiet {
        println!("handle {handle:#x}: {answer}, {:?}; nothing came of its pair: {quiet}", said.status);
    }
    Some(stale && quiet)
}

fn vector(number: u32) -> u8 {
    FIRST_VECTOR + u8::try_from(number).unwrap_or(0)
}

/// How often an entry's interrupt was handled.
fn total(number: u32) -> u64 {
    interrupts::total(vector(number))
}

/// Raises an entry, and waits for it to be handled.
fn once(driver: &mut Device, number: u32) {
    let index = u16::try_from(number).unwrap_or(0);
    let before = total(number);
    driver.raise(index);
    wait_until(PATIENCE_MS, || total(number) > before);
    driver.acknowledge(index);
}

/// Maps the first entries of a device and has them come; a device that raises by itself goes on. Answers how often they
/// came, and the table with its live entries.
fn traffic(
    session: &Session,
    function: &Function,
    driver: &mut Device,
    checks: &mut Checks,
) -> (u64, Option<LiveTable>) {
    let target = |number: u32| {
        let cpu = cpu::by_index(number as usize % cpu::count()).map_or(0, |cpu| cpu.apic_id);
        Target::fixed(cpu, vector(number))
    };
    let table = pci::device_id(function.address).and_then(|id| LiveTable::open(id).ok());
    let Some(mut table) = table else {
        checks.expect("map", false, format_args!("no table"));
        return (0, None);
    };
    let mapped = table.extend(session, INTERRUPTS, target);
    let count = u32::try_from(table.live().len()).unwrap_or(0);
    checks.expect("map", mapped.is_ok() && count > 0, format_args!("{count} entries: {:?}", mapped.err()));
    let start = cycles();
    for number in 0..count {
        once(driver, number);
    }
    let round_us = cycles().wrapping_sub(start) / (khz() / 1000).max(1);
    if let Device::Emulated(device) = &*driver {
        let left = device.rounds_left();
        checks.expect("quiet", left == 0, format_args!("the device raises nothing by itself: {left} rounds"));
        let interval = u32::try_from(round_us * TIMES_LONGER).unwrap_or(u32::MAX);
        device.run(0, count, interval.clamp(INTERVAL, 100 * INTERVAL), u32::MAX);
    }
    for number in 0..count {
        let come = wait_until(PATIENCE_MS, || {
            once(driver, number);
            total(number) >= LEAST
        });
        if !come {
            checks.expect("handled", false, format_args!("entry {number} came {} times", total(number)));
        }
    }
    ((0..count).map(total).sum(), Some(table))
}
