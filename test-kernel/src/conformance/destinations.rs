//! Section 5, which vCPU a destination names.

use super::Tests;
use super::fixture::{Fixture, MappedEntry};
use super::verdict::{Finding, Verdict, ensure};
use crate::machine::cpu;
use arrayvec::ArrayVec;
use pvir_guest::abi::{DeliveryMode, DestinationMode, EntryRecord, Features, Operation, Routing, Status};

pub(super) const TESTS: Tests = &[("L1", l1), ("L2", l2), ("L3", l3), ("L4", l4), ("L5", l5), ("L6", l6)];

const LOGICAL: &str = "the host does not offer LOGICAL_DESTINATION";
const CHOICE: &str = "the host offers neither LOWEST_PRIORITY nor REDIRECTION_HINT";

/// Maps entry 0 with this routing; it must arrive at this CPU. Then it is given back.
fn arrives_at(fixture: &mut Fixture, routing: Routing, cpu: usize) -> Verdict {
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (request, ..) = fixture.request(subject, 0)?;
    let entry = fixture.expect(Operation::MAP, &EntryRecord { routing, ..request }, Status::OK)?;
    fixture.subject(subject)?.program(0, entry.pair());
    let line = MappedEntry { subject, index: 0, cpu, vector: routing.vector, entry };
    fixture.arrives(&line)?;
    let held = fixture.expect(Operation::QUERY, &Fixture::bare(&line), Status::OK)?;
    ensure!(held.routing == routing, "asked for {routing:?}, QUERY says {:?}", held.routing);
    fixture.subject(subject)?.silence();
    fixture.expect(Operation::UNMAP, &Fixture::bare(&line), Status::OK)?;
    Ok(())
}

/// MAP of entry 0 with this routing must fail so.
fn refused(fixture: &mut Fixture, routing: Routing, status: Status) -> Verdict {
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (request, ..) = fixture.request(subject, 0)?;
    fixture.expect(Operation::MAP, &EntryRecord { routing, ..request }, status)?;
    Ok(())
}

/// The logical id of x2APIC mode.
fn logical_id(apic_id: u32) -> u32 {
    (apic_id / 16) << 16 | 1 << (apic_id % 16)
}

fn logical(destination: u32, vector: u8) -> Routing {
    Routing { destination, destination_mode: DestinationMode::LOGICAL.0, ..Fixture::route(0, vector) }
}

/// An APIC id that no vCPU has and that is no broadcast id, beside or above those that there are.
pub(super) fn nobody() -> u32 {
    (0..=u32::MAX).find(|id| *id != 0xff && cpu::by_apic_id(*id).is_none()).unwrap_or(0xfff_fff0)
}

/// Both that lie in one cluster: the lower id first.
fn two_of_a_cluster() -> Result<[usize; 2], Finding> {
    let first = cpu::by_index(0).map_or(0, |cpu| cpu.apic_id);
    let mate = cpu::all().find(|cpu| cpu.apic_id != first && cpu.apic_id / 16 == first / 16);
    let mate = mate.ok_or(Finding::CannotShow("no two CPUs are in one cluster"))?;
    Ok(if mate.apic_id < first { [mate.index, 0] } else { [0, mate.index] })
}

/// What lets the host choose among several, as far as it is offered.
fn choices(fixture: &Fixture, routing: Routing) -> impl Iterator<Item = Routing> + use<> {
    let offered = fixture.offered();
    let lowest = Routing { delivery_mode: DeliveryMode::LOWEST_PRIORITY.0, ..routing };
    let hint = Routing { hint: 1, ..routing };
    let all = [(Features::LOWEST_PRIORITY, lowest), (Features::REDIRECTION_HINT, hint)];
    all.into_iter().filter(move |(feature, _)| offered.contains(*feature)).map(|(_, routing)| routing)
}

fn l1(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    for cpu in 0..cpu::count() {
        let vector = fixture.vector();
        arrives_at(fixture, Fixture::route(cpu, vector), cpu)?;
    }
    let vector = fixture.vector();
    for destination in [nobody(), 0xfff_fff0] {
        refused(fixture, Routing { destination, ..Fixture::route(0, vector) }, Status::BAD_DESTINATION)?;
    }
    Ok(())
}

fn l2(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::LOGICAL_DESTINATION, LOGICAL)?;
    fixture.enable()?;
    for cpu in 0..cpu::count() {
        let vector = fixture.vector();
        arrives_at(fixture, logical(logical_id(Fixture::apic_id(cpu)), vector), cpu)?;
    }
    let vector = fixture.vector();
    for nobody in [0x7fff_0001, 0x7fff_ffff, 0] {
        refused(fixture, logical(nobody, vector), Status::BAD_DESTINATION)?;
    }
    // Members that do not exist are left out.
    let one = Fixture::apic_id(0);
    if cpu::all().all(|cpu| cpu.index == 0 || cpu.apic_id / 16 != one / 16) {
        arrives_at(fixture, logical((one / 16) << 16 | 0xffff, vector), 0)?;
    }
    Ok(())
}

fn l3(fixture: &mut Fixture) -> Verdict {
    fixture.needs(Features::LOGICAL_DESTINATION, LOGICAL)?;
    let pair = two_of_a_cluster()?;
    fixture.enable()?;
    chosen_among(fixture, &pair)?;
    let all = whole_cluster();
    if all.len() > 2 { chosen_among(fixture, &all) } else { Ok(()) }
}

/// The CPUs of the boot CPU's cluster in the order of their ids, the first few of them.
fn whole_cluster() -> ArrayVec<usize, 4> {
    let cluster = Fixture::apic_id(0) / 16;
    let ids = (cluster * 16..).take(16).filter_map(cpu::by_apic_id);
    ids.map(|cpu| cpu.index).take(4).collect()
}

/// Of a set of several the host takes the one that the vector says: each of them, by as many vectors in a row.
fn chosen_among(fixture: &mut Fixture, set: &[usize]) -> Verdict {
    let all = set.iter().fold(0, |all, cpu| all | logical_id(Fixture::apic_id(*cpu)));
    for _ in set {
        let vector = fixture.vector();
        refused(fixture, logical(all, vector), Status::AMBIGUOUS_DESTINATION)?;
        for routing in choices(fixture, logical(all, vector)) {
            arrives_at(fixture, routing, set[usize::from(vector) % set.len()])?;
        }
    }
    Ok(())
}

fn l4(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let mut any = false;
    for cpu in 0..cpu::count() {
        let vector = fixture.vector();
        for routing in choices(fixture, Fixture::route(cpu, vector)) {
            any = true;
            arrives_at(fixture, routing, cpu)?;
        }
    }
    if any { Ok(()) } else { Err(Finding::CannotShow(CHOICE)) }
}

fn l5(fixture: &mut Fixture) -> Verdict {
    fixture.enable()?;
    let vector = fixture.vector();
    // `arrives_at` asks QUERY for each routing that it is given.
    arrives_at(fixture, Fixture::route(0, vector), 0)?;
    for routing in choices(fixture, Fixture::route(0, vector)) {
        arrives_at(fixture, routing, 0)?;
    }
    if fixture.offered().contains(Features::LOGICAL_DESTINATION) {
        arrives_at(fixture, logical(logical_id(Fixture::apic_id(0)), vector), 0)?;
    }
    another_name_is_another_request(fixture, vector)
}

/// What resolves to the same vCPU and vector is not the same record.
fn another_name_is_another_request(fixture: &mut Fixture, vector: u8) -> Verdict {
    let subject = fixture.msix().or_else(|_| fixture.msi())?;
    let (request, ..) = fixture.request(subject, 0)?;
    let plain = EntryRecord { routing: Fixture::route(0, vector), ..request };
    fixture.expect(Operation::MAP, &plain, Status::OK)?;
    let mut others: ArrayVec<Routing, 3> = choices(fixture, plain.routing).collect();
    if fixture.offered().contains(Features::LOGICAL_DESTINATION) {
        others.push(logical(logical_id(Fixture::apic_id(0)), vector));
    }
    for routing in others {
        fixture.expect(Operation::MAP, &EntryRecord { routing, ..plain }, Status::ALREADY_MAPPED)?;
    }
    Ok(())
}

fn l6(fixture: &mut Fixture) -> Verdict {
    let most = fixture.features().max_apic_id;
    let highest = cpu::all().map(|cpu| cpu.apic_id).max().unwrap_or(0);
    ensure!(most >= highest, "max_apic_id is {most}, a CPU has {highest}");
    fixture.enable()?;
    let vector = fixture.vector();
    let destination = nobody();
    for _ in 0..2 {
        refused(fixture, Routing { destination, ..Fixture::route(0, vector) }, Status::BAD_DESTINATION)?;
        arrives_at(fixture, Fixture::route(0, vector), 0)?;
    }
    Ok(())
}
