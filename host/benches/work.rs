//! How much the service works for an entry, in instructions and in bytes: figures that do not depend on the machine's
//! speed or load.
//!
//! `work WHAT COUNT` does one thing once, or a count COUNT times. Under `valgrind --tool=callgrind` with collection toggled
//! by `measured` the tool tells the instructions; by itself `work bytes COUNT` tells the heap that mapped entries hold, and
//! `work counter-bytes COUNT` that of a vCPU's counters. `./run.sh work` runs all of it and compares with the recorded
//! figures.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on has nothing to tell")]

mod bare;

use bare::{Bare, PER_CALL, map, retarget, unmap};
use pvir_abi::{EntryRecord, Operation, Status};
use pvir_host::counters::{Counter, Counters, VcpuCounters};
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The frame by which callgrind knows what counts.
#[inline(never)]
fn measured(bare: &Bare) -> Status {
    bare.call()
}

/// Likewise, for an ioctl that is issued again and again.
#[inline(never)]
fn measured_ioctls(counter: &Counter, count: u32) {
    for _ in 0..count {
        black_box(counter).count();
    }
}

/// Likewise, for exits.
#[inline(never)]
fn measured_exits(counters: &VcpuCounters, count: u32) {
    for _ in 0..count {
        counters.count(black_box(17));
    }
}

/// Likewise, for the answer to whoever watches.
#[inline(never)]
fn measured_live(bare: &Bare) -> usize {
    bare.service.live().irtes.len()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [what, count] = arguments.as_slice() else {
        println!(
            "usage: work map|map-armed|retarget|retarget-one|unmap|query|bytes|allocations|count-ioctl|count-exit|counter-bytes|live|\
             live-locked COUNT"
        );
        return;
    };
    let count: u32 = count.parse().unwrap();
    match what.as_str() {
        "bytes" => return bytes(count),
        "counter-bytes" => return counter_bytes(count),
        "allocations" => return allocations(count),
        "count-ioctl" => return measured_ioctls(&Counters::new().ioctl("KVM_IRQFD"), count),
        "count-exit" => return measured_exits(&VcpuCounters::new(32), count),
        _ => {}
    }
    let bare = if what == "map-armed" { Bare::with_ahead(PER_CALL) } else { Bare::new() };
    match what.as_str() {
        // The latter by callgrind's choice of the frame.
        "live" | "live-locked" => {
            bare.map(count);
            return assert_eq!(measured_live(&bare), count as usize);
        }
        // The last call of as many as are needed.
        "map" => {
            let last = count.min(PER_CALL);
            bare.map(count - last);
            let records: Vec<_> = (count - last..count).map(map).collect();
            bare.ask(Operation::MAP, &records);
        }
        // All of its irqfds wait.
        "map-armed" => {
            bare.arm();
            bare.ask(Operation::MAP, &(0..count).map(map).collect::<Vec<_>>());
        }
        "retarget" => {
            let records: Vec<_> = bare.map(count).iter().take(PER_CALL as usize).map(retarget).collect();
            bare.ask(Operation::RETARGET, &records);
        }
        // One, with `count` mapped.
        "retarget-one" => bare.ask(Operation::RETARGET, &[retarget(&bare.map(count)[0])]),
        "unmap" => {
            let records: Vec<_> = bare.map(count).iter().take(PER_CALL as usize).map(unmap).collect();
            bare.ask(Operation::UNMAP, &records);
        }
        "query" => {
            let records: Vec<_> = bare.map(count).iter().take(PER_CALL as usize).map(unmap).collect();
            bare.ask(Operation::QUERY, &records);
        }
        other => panic!("unknown: {other}"),
    }
    assert_eq!(measured(&bare), Status::OK);
}

/// Heap that stays in use for each mapped entry.
fn bytes(count: u32) {
    let _profiler = dhat::Profiler::builder().testing().build();
    let bare = Bare::new();
    tell_growth(|| drop(bare.map(count)));
}

/// How often a MAP, a RETARGET and an UNMAP of `count` entries ask the allocator, together, when all were mapped before:
/// tables have grown then.
fn allocations(count: u32) {
    let _profiler = dhat::Profiler::builder().testing().build();
    let bare = Bare::new();
    let call = |operation, records: &[EntryRecord]| {
        bare.ask(operation, records);
        let before = dhat::HeapStats::get().total_blocks;
        assert_eq!(bare.call(), Status::OK);
        let asked = dhat::HeapStats::get().total_blocks - before;
        (asked, bare.answer(records.len()))
    };
    let life = || {
        let (of_map, mapped) = call(Operation::MAP, &(0..count).map(map).collect::<Vec<_>>());
        let of_others = [retarget as fn(&EntryRecord) -> EntryRecord, unmap].into_iter();
        let of_others = of_others
            .zip([Operation::RETARGET, Operation::UNMAP])
            .map(|(record, operation)| call(operation, &mapped.iter().map(record).collect::<Vec<_>>()).0);
        of_map + of_others.sum::<u64>()
    };
    life();
    println!("{}", life());
}

/// Heap for the counters of one vCPU.
fn counter_bytes(count: u32) {
    let _profiler = dhat::Profiler::builder().testing().build();
    tell_growth(|| VcpuCounters::new(count as usize));
}

fn tell_growth<T>(act: impl FnOnce() -> T) {
    let before = dhat::HeapStats::get().curr_bytes;
    let _kept = act();
    let after = dhat::HeapStats::get().curr_bytes;
    println!("{}", after.saturating_sub(before));
}
