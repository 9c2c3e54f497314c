//! One processor switches a device's memory decode off and on, sends it to sleep and wakes it, and resets it now and then,
//! while another maps, asks for, moves and unmaps its entries. Each call is answered, nothing stays behind, and the device
//! works afterwards. `toggles=` says how often.

#![expect(unsafe_code, reason = "switches a device off while it is in use")]

use crate::harness::checks::{Checks, Outcome};
use crate::harness::counted_interrupt::{CountedInterrupt, refusal};
use crate::harness::setup;
use crate::harness::vectors::{Destination, Vectors};
use crate::machine::cpu::time::PATIENCE_MS;
use crate::machine::cpu::{self, smp};
use crate::machine::devices::{Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::config::{Width, capability, read_as, write_as};
use crate::machine::pci::reset::ResetRegister;
use crate::machine::pci::{self, Function, device_id};
use crate::remapping::{Kernel, Session};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use pvir_guest::abi::Status;
use pvir_guest::{MsixTable, Target};
use pvir_test_kernel::cmdline::CommandLine;
use spin::Mutex;

const TOGGLES: u64 = 1_000;
/// One of so many times the device is reset too.
const RESET_EACH: u64 = 100;
const COMMAND: u16 = 4;
const MEMORY: u32 = 2;
const POWER_MANAGEMENT: u8 = 1;
const POWER_CONTROL: u16 = 4;
const SLEEPING: u32 = 3;

static FUNCTION: Mutex<Option<Function>> = Mutex::new(None);
static TOGGLED: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let toggles = setup::number(line, "toggles", TOGGLES)?;
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    match setup::with_msix(&functions).next() {
        Some(_) if cpu::count() < 2 => {
            checks.record("decode", &Outcome::Skipped("one processor has no other"), format_args!(""));
        }
        Some(function) => {
            let done = device(&session, function, toggles, &mut checks);
            checks.expect("finished", done.is_some(), format_args!("the device works afterwards"));
        }
        None => checks.record("device", &Outcome::Skipped("no device with MSI-X"), format_args!("")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("decode"))
}

fn device(session: &Session, function: &Function, toggles: u64, checks: &mut Checks) -> Option<()> {
    let mut driver = setup::driver(function, checks)?;
    let table = MsixTable::open(Kernel, device_id(function.address)?).ok()?;
    let vector = Vectors::new().take(2)?;
    let mut line = CountedInterrupt::new(table.origin(0), Destination::on(0, vector)?);
    *FUNCTION.lock() = Some(*function);
    let other = cpu::count() - 1;
    smp::start_on(other, toggle, toggles).ok()?;
    let (mut calls, mut refused) = (0_u64, 0_u64);
    let moved = Target::fixed(line.place().apic_id, vector + 1);
    while TOGGLED.load(Ordering::Relaxed) < toggles {
        calls += 4;
        match session.map(line.request()) {
            Ok(mut irte) => {
                refused += u64::from(session.verify(&irte).is_err());
                refused += u64::from(session.retarget(&mut irte, moved).is_err());
                refused += u64::from(session.unmap(irte).is_err());
            }
            // A device that does not answer at the moment.
            answer => {
                refused += 1;
                let status = refusal(&answer);
                let known =
                    status.is_some_and(|status| [Status::DEVICE_ERROR, Status::BAD_PAIR].contains(&status));
                checks.expect("answer", known, format_args!("MAP is answered {answer:?}"));
                known.then_some(())?;
            }
        }
    }
    STOP.store(true, Ordering::Relaxed);
    smp::wait_for(other, 4 * PATIENCE_MS).ok()?;
    let detail = format_args!("{toggles} toggles, {calls} calls meanwhile, {refused} refused");
    checks.expect("decode", calls > 0, detail);
    let irtes = session.query(table.origin(0)).is_err();
    checks.expect("left", irtes, format_args!("nothing is mapped"));
    works(session, function, &table, &mut driver, &mut line)
}

/// Maps the entry once more, and raises it.
fn works(
    session: &Session,
    function: &Function,
    table: &MsixTable<Kernel>,
    driver: &mut Device,
    line: &mut CountedInterrupt,
) -> Option<()> {
    function.enable();
    driver.init();
    if let Some(raw) = pci::msix_table::RawMsixTable::open(function) {
        raw.set_capability(true, false);
    }
    let live = table.claim(0)?.program(session.map(line.request()).ok()?).ok()?.unmask();
    let came = line.raise(|| driver.raise(0));
    driver.acknowledge(0);
    session.unmap(live.mask().ok()?.retire().1).ok()?;
    came.then_some(())
}

/// What the other processor does.
fn toggle(toggles: u64) -> u64 {
    let Some(function) = *FUNCTION.lock() else { return 0 };
    let power = capability(function.address, POWER_MANAGEMENT).map(|at| at + POWER_CONTROL);
    let reset = ResetRegister::of(&function);
    let command = read_as(function.address, COMMAND, Width::Two);
    let mut done = 0;
    while done < toggles && !STOP.load(Ordering::Relaxed) {
        write(&function, COMMAND, command & !MEMORY);
        power.into_iter().for_each(|at| write(&function, at, SLEEPING));
        power.into_iter().for_each(|at| write(&function, at, 0));
        write(&function, COMMAND, command);
        if let Some(reset) = reset.filter(|_| done % RESET_EACH == 0) {
            reset.reset(0);
        }
        done += 1;
        TOGGLED.store(done, Ordering::Relaxed);
    }
    done
}

fn write(function: &Function, offset: u16, value: u32) {
    // SAFETY: nothing of this kernel accesses the device's memory meanwhile.
    unsafe { write_as(function.address, offset, Width::Two, value) };
}
