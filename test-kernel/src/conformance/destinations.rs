//! Section 5, which vCPU a destination names.

use super::Tests;
use super::bench::{Bench, Line};
use super::verdict::{Finding, Verdict, ensure};
use crate::cpu;
use pvir_guest::abi::{DeliveryMode, DestinationMode, EntryRecord, Features, Operation, Routing, Status};

pub(super) const TESTS: Tests = &[("L1", l1), ("L2", l2), ("L3", l3), ("L4", l4), ("L5", l5), ("L6", l6)];

const LOGICAL: &str = "the host does not offer LOGICAL_DESTINATION";
const CHOICE: &str = "the host offers neither LOWEST_PRIORITY nor REDIRECTION_HINT";

/// Maps entry 0 with this routing; it must arrive at this CPU. Then it is given back.
fn arrives_at(bench: &mut Bench, routing: Routing, cpu: usize) -> Verdict {
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let (request, ..) = bench.request(subject, 0)?;
    let entry = bench.expect(Operation::MAP, &EntryRecord { routing, ..request }, Status::OK)?;
    bench.subject(subject)?.program(0, entry.pair());
    let line = Line { subject, index: 0, cpu, vector: routing.vector, entry };
    bench.arrives(&line)?;
    let held = bench.expect(Operation::QUERY, &Bench::bare(&line), Status::OK)?;
    ensure!(held.routing == routing, "asked for {routing:?}, QUERY says {:?}", held.routing);
    bench.subject(subject)?.silence();
    bench.expect(Operation::UNMAP, &Bench::bare(&line), Status::OK)?;
    Ok(())
}

/// MAP of entry 0 with this routing must fail so.
fn refused(bench: &mut Bench, routing: Routing, status: Status) -> Verdict {
    let subject = bench.msix().or_else(|_| bench.msi())?;
    let (request, ..) = bench.request(subject, 0)?;
    bench.expect(Operation::MAP, &EntryRecord { routing, ..request }, status)?;
    Ok(())
}

/// The logical id of x2APIC mode.
fn logical_id(apic_id: u32) -> u32 {
    (apic_id / 16) << 16 | 1 << (apic_id % 16)
}

fn logical(destination: u32, vector: u8) -> Routing {
    Routing { destination, destination_mode: DestinationMode::LOGICAL.0, ..Bench::route(0, vector) }
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
fn choices(bench: &Bench, routing: Routing) -> impl Iterator<Item = Routing> + use<> {
    let offered = bench.offered();
    let lowest = Routing { delivery_mode: DeliveryMode::LOWEST_PRIORITY.0, ..routing };
    let hint = Routing { hint: 1, ..routing };
    let all = [(Features::LOWEST_PRIORITY, lowest), (Features::REDIRECTION_HINT, hint)];
    all.into_iter().filter(move |(feature, _)| offered.contains(*feature)).map(|(_, routing)| routing)
}

fn l1(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    for cpu in 0..cpu::count() {
        let vector = bench.vector();
        arrives_at(bench, Bench::route(cpu, vector), cpu)?;
    }
    let vector = bench.vector();
    for destination in [nobody(), 0xfff_fff0] {
        refused(bench, Routing { destination, ..Bench::route(0, vector) }, Status::BAD_DESTINATION)?;
    }
    Ok(())
}

fn l2(bench: &mut Bench) -> Verdict {
    bench.needs(Features::LOGICAL_DESTINATION, LOGICAL)?;
    bench.enable()?;
    for cpu in 0..cpu::count() {
        let vector = bench.vector();
        arrives_at(bench, logical(logical_id(Bench::apic_id(cpu)), vector), cpu)?;
    }
    let vector = bench.vector();
    for nobody in [0x7fff_0001, 0x7fff_ffff, 0] {
        refused(bench, logical(nobody, vector), Status::BAD_DESTINATION)?;
    }
    // Members that do not exist are left out.
    let one = Bench::apic_id(0);
    if cpu::all().all(|cpu| cpu.index == 0 || cpu.apic_id / 16 != one / 16) {
        arrives_at(bench, logical((one / 16) << 16 | 0xffff, vector), 0)?;
    }
    Ok(())
}

fn l3(bench: &mut Bench) -> Verdict {
    bench.needs(Features::LOGICAL_DESTINATION, LOGICAL)?;
    let pair = two_of_a_cluster()?;
    bench.enable()?;
    let both = pair.iter().fold(0, |all, cpu| all | logical_id(Bench::apic_id(*cpu)));
    for _ in 0..2 {
        let vector = bench.vector();
        refused(bench, logical(both, vector), Status::AMBIGUOUS_DESTINATION)?;
        for routing in choices(bench, logical(both, vector)) {
            arrives_at(bench, routing, pair[usize::from(vector) % 2])?;
        }
    }
    Ok(())
}

fn l4(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let mut any = false;
    for cpu in 0..cpu::count() {
        let vector = bench.vector();
        for routing in choices(bench, Bench::route(cpu, vector)) {
            any = true;
            arrives_at(bench, routing, cpu)?;
        }
    }
    if any { Ok(()) } else { Err(Finding::CannotShow(CHOICE)) }
}

fn l5(bench: &mut Bench) -> Verdict {
    bench.enable()?;
    let vector = bench.vector();
    // `arrives_at` asks QUERY for each routing that it is given.
    arrives_at(bench, Bench::route(0, vector), 0)?;
    for routing in choices(bench, Bench::route(0, vector)) {
        arrives_at(bench, routing, 0)?;
    }
    if bench.offered().contains(Features::LOGICAL_DESTINATION) {
        arrives_at(bench, logical(logical_id(Bench::apic_id(0)), vector), 0)?;
    }
    Ok(())
}

fn l6(bench: &mut Bench) -> Verdict {
    let most = bench.features().max_apic_id;
    let highest = cpu::all().map(|cpu| cpu.apic_id).max().unwrap_or(0);
    ensure!(most >= highest, "max_apic_id is {most}, a CPU has {highest}");
    bench.enable()?;
    let vector = bench.vector();
    let destination = nobody();
    for _ in 0..2 {
        refused(bench, Routing { destination, ..Bench::route(0, vector) }, Status::BAD_DESTINATION)?;
        arrives_at(bench, Bench::route(0, vector), 0)?;
    }
    Ok(())
}
