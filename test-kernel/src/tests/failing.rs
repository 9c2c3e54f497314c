//! A host whose calls of its kernel fail now and then, as somebody outside makes them: the first entries of a device are
//! mapped, moved, parked and given back, `rounds=` times. What fails is told, leaves everything as it was, and works when it is
//! asked for again.

use crate::harness::checks::Checks;
use crate::harness::counted_interrupt::CountedInterrupt;
use crate::harness::setup;
use crate::harness::vectors::{Destination, Vectors};
use crate::machine::console::report;
use crate::machine::devices::Trigger;
use crate::machine::exit::ExitCode;
use crate::machine::pci::{self, Function, device_id};
use crate::remapping::{Kernel, Session};
use pvir_guest::abi::Status;
use pvir_guest::{Error, Irte, MapRequest, MsixTable, Origin, Target, UnmapFailed};
use pvir_test_kernel::cmdline::CommandLine;

const ROUNDS: u64 = 20;
const ENTRIES: u32 = 4;
/// So often a request is made again at most: a fault of the host's is over then, unless several follow each other.
const AGAIN: u32 = 3;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let mut sum = Sum::default();
    match setup::with_msix(&functions).next() {
        Some(function) => {
            let done = (0..rounds).try_for_each(|_| round(&session, function, &mut sum));
            checks.expect("rounds", done.is_ok(), format_args!("{rounds} rounds: {done:?}, {sum:?}"));
            let works = works(&session, function, &mut checks);
            checks.expect("works", works.is_some(), format_args!("an interrupt arrives afterwards"));
        }
        None => checks.expect("device", false, format_args!("no device with MSI-X")),
    }
    report::event("failing", |event| {
        event.num("requests", sum.requests).num("refused", sum.refused);
    });
    setup::close(session, &mut checks);
    Ok(checks.finish("failing"))
}

#[derive(Default, Debug)]
struct Sum {
    requests: u64,
    refused: u64,
}

/// What does not hold.
#[derive(Debug)]
#[expect(dead_code, reason = "printed by its Debug form")]
enum Broken {
    Device,
    /// A request was refused once too often.
    Refused(&'static str, Error),
    /// A request that was refused has left the entry otherwise than it was.
    Changed(&'static str),
}

fn round(session: &Session, function: &Function, sum: &mut Sum) -> Result<(), Broken> {
    let id = device_id(function.address).ok_or(Broken::Device)?;
    let target = |vector| Destination::on(0, vector).map(Destination::target).ok_or(Broken::Device);
    for index in 0..ENTRIES {
        let origin = Origin::msix(id, index);
        let mut irte = map(session, sum, MapRequest::new(origin, target(0x40)?))?;
        for to in [target(0x41)?, Target::Parked, target(0x40)?] {
            move_to(session, sum, &mut irte, to)?;
        }
        unmap(session, sum, irte)?;
        if session.query(origin).is_ok() {
            return Err(Broken::Changed("UNMAP"));
        }
    }
    Ok(())
}

fn map(session: &Session, sum: &mut Sum, request: MapRequest) -> Result<Irte, Broken> {
    for again in 0.. {
        sum.requests += 1;
        match session.map(request) {
            Ok(irte) => return Ok(irte),
            Err(error) if again == AGAIN => return Err(Broken::Refused("MAP", error)),
            Err(_) if session.query(request.origin).is_ok() => return Err(Broken::Changed("MAP")),
            Err(_) => sum.refused += 1,
        }
    }
    Err(Broken::Device)
}

fn move_to(session: &Session, sum: &mut Sum, irte: &mut Irte, to: Target) -> Result<(), Broken> {
    let held = |irte: &Irte| session.verify(irte).map(|held| held.target).ok();
    let before = held(irte);
    for again in 0.. {
        sum.requests += 1;
        match session.retarget(irte, to) {
            Ok(()) => break,
            Err(error) if again == AGAIN => return Err(Broken::Refused("RETARGET", error)),
            Err(_) if held(irte) != before => return Err(Broken::Changed("RETARGET")),
            Err(_) => sum.refused += 1,
        }
    }
    if held(irte) == Some(to) { Ok(()) } else { Err(Broken::Changed("RETARGET, granted")) }
}

/// An UNMAP that the host's kernel has failed is not undone (U3): the handle is stale then.
fn unmap(session: &Session, sum: &mut Sum, irte: Irte) -> Result<(), Broken> {
    sum.requests += 1;
    let Err(failed) = session.unmap(irte) else { return Ok(()) };
    sum.refused += 1;
    match session.unmap(failed.irte) {
        Err(UnmapFailed { error: Error::Entry { status, .. }, .. })
            if status.status() == Status::STALE_HANDLE =>
        {
            Ok(())
        }
        again => Err(Broken::Refused("UNMAP", again.err().map_or(failed.error, |again| again.error))),
    }
}

fn works(session: &Session, function: &Function, checks: &mut Checks) -> Option<()> {
    let mut driver = setup::driver(function, checks)?;
    let table = MsixTable::open(Kernel, device_id(function.address)?).ok()?;
    let place = Destination::on(0, Vectors::new().take(1)?)?;
    let mut line = CountedInterrupt::new(table.origin(0), place);
    let mut sum = Sum::default();
    let irte = map(session, &mut sum, line.request()).ok()?;
    let live = table.claim(0)?.program(irte).ok()?.unmask();
    let came = line.raise(|| driver.raise(0));
    driver.acknowledge(0);
    unmap(session, &mut sum, live.mask().ok()?.retire().1).ok()?;
    came.then_some(())
}
