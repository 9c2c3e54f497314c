//! What happens when the host has no interrupt vector left: a device gets those that there are and a status for the rest,
//! nobody else is harmed, and what is given back can be had again. Needs a device with a larger table than the host has
//! vectors, and behind it another device with MSI-X. Neither needs a driver: nothing is raised. With `spare=N` one device is
//! enough: all vectors but N are held.

use crate::harness::checks::Checks;
use crate::harness::live_entries::{Failed, LiveTable};
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu;
use crate::machine::exit::ExitCode;
use crate::machine::pci::{self, Function, device_id};
use crate::remapping::Session;
use arrayvec::ArrayVec;
use pvir_guest::abi::Status;
use pvir_guest::{BatchMode, EntryError, Error, MapRequest, MapResult, NOT_MAPPED, Target};
use pvir_test_kernel::cmdline::CommandLine;

const VECTOR: u8 = 0x60;
const DEVICES: usize = 2;
/// A CPU of the host has some two hundred vectors for devices.
const LEAST: usize = 64;
/// Records of one call.
const CALL_RECORDS: u32 = 64;
const CALL: usize = CALL_RECORDS as usize;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let spare = line.number("spare").ok().flatten().and_then(|spare| usize::try_from(spare).ok());
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let with_msix = functions.iter().filter(|function| function.msix().is_some());
    let mut tables: ArrayVec<LiveTable, DEVICES> = with_msix.filter_map(open).take(DEVICES).collect();
    match (spare, tables.as_mut_slice()) {
        (Some(spare), [first, ..]) => hold(&session, first, spare, &mut checks),
        (None, [first, second]) => exhaust(&session, first, second, &mut checks),
        _ => checks.expect("devices", false, format_args!("two devices with MSI-X are needed")),
    }
    for table in &mut tables {
        give_back(&session, table);
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("shortage"))
}

fn open(function: &Function) -> Option<LiveTable> {
    function.enable();
    LiveTable::open(device_id(function.address)?).ok()
}

fn exhaust(session: &Session, first: &mut LiveTable, second: &mut LiveTable, checks: &mut Checks) {
    const NONE_LEFT: Option<Status> = Some(Status::NO_HOST_VECTOR);
    let status = fill(session, first);
    let got = first.live().len();
    let size = first.size();
    checks.expect(
        "granted",
        (LEAST..size as usize).contains(&got) && status == NONE_LEFT,
        format_args!("{got} of {size} entries, then {status:?}"),
    );

    let (granted, statuses) =
        map(session, first, size.saturating_sub(CALL_RECORDS), CALL, BatchMode::Partial);
    let refused = statuses.iter().filter(|status| **status == NONE_LEFT).count();
    checks.expect(
        "rest",
        refused == CALL && granted.is_ok(),
        format_args!("{refused} of the last {CALL} entries: no vector"),
    );

    let status = fill(session, second);
    checks.expect(
        "second",
        second.live().is_empty() && status == NONE_LEFT,
        format_args!("{} entries of the second device, then {status:?}", second.live().len()),
    );

    // One vector is free, two are asked for.
    let given = first.unmap_first(session, 1);
    let (granted, statuses) = map(session, second, 0, 2, BatchMode::AllOrNothing);
    let aborted = granted.is_err() && statuses.as_slice() == [Some(Status::ABORTED), NONE_LEFT];
    checks.expect(
        "all-or-nothing",
        given == 1 && aborted,
        format_args!("given back: {given}, then {statuses:?}"),
    );
    let status = fill(session, second);
    checks.expect(
        "given-back",
        second.live().len() == 1 && status == NONE_LEFT,
        format_args!("{} entries of the second device, then {status:?}", second.live().len()),
    );

    give_back(session, first);
    give_back(session, second);
    let status = fill(session, first);
    let again = first.live().len();
    checks.expect(
        "again",
        again == got && status == NONE_LEFT,
        format_args!("all given back: {again} entries of the first device, then {status:?}"),
    );
}

/// Holds all vectors but `spare` at the checkpoint `spare`, for whoever wants another VM to have no more.
fn hold(session: &Session, table: &mut LiveTable, spare: usize, checks: &mut Checks) {
    let status = fill(session, table);
    let got = table.live().len();
    let given = table.unmap_first(session, spare);
    checks.expect(
        "held",
        status == Some(Status::NO_HOST_VECTOR) && given == spare,
        format_args!("{got} entries, then {status:?}; given back: {given}"),
    );
    report::checkpoint("spare");
}

/// Maps all entries from the front that can be had; answers with the status of the first that cannot.
fn fill(session: &Session, table: &mut LiveTable) -> Option<Status> {
    match table.extend(session, table.size(), |_| target()) {
        Err(Failed::Entry(_, EntryError::Status(status))) => Some(status.status()),
        _ => None,
    }
}

fn give_back(session: &Session, table: &mut LiveTable) {
    table.unmap_first(session, table.live().len());
}

/// Asks for entries by one call; what is granted all the same stays so until DISABLE.
fn map(
    session: &Session,
    table: &LiveTable,
    first: u32,
    count: usize,
    mode: BatchMode,
) -> (Result<(), Error>, ArrayVec<Option<Status>, CALL>) {
    let requests: ArrayVec<MapRequest, CALL> =
        (first..).take(count).map(|index| MapRequest::new(table.origin(index), target())).collect();
    let mut results: ArrayVec<MapResult, CALL> = requests.iter().map(|_| NOT_MAPPED).collect();
    let granted = session.map_batch(&requests, &mut results, mode).map(|_| ());
    let status = |result: MapResult| match result {
        Err(EntryError::Status(status)) => Some(status.status()),
        _ => None,
    };
    (granted, results.into_iter().map(status).collect())
}

fn target() -> Target {
    Target::fixed(cpu::current().apic_id, VECTOR)
}
