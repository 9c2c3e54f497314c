//! How much the service works for an entry, in instructions and in bytes: figures that do not depend on the machine's
//! speed or load.
//!
//! `work WHAT COUNT` does one thing once. Under `valgrind --tool=callgrind` with collection toggled by `measured` the
//! tool tells the instructions; by itself `work bytes COUNT` tells the heap that mapped entries hold. `./run.sh work`
//! runs all of it and compares with the recorded figures.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on has nothing to tell")]

mod bare;

use bare::{Bare, PER_CALL, map, retarget, unmap};
use pvir_abi::{Operation, Status};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The frame by which callgrind knows what counts.
#[inline(never)]
fn measured(bare: &Bare) -> Status {
    bare.call()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [what, count] = arguments.as_slice() else {
        println!("usage: work map|map-armed|retarget|retarget-one|unmap|query|bytes COUNT");
        return;
    };
    let count: u32 = count.parse().unwrap();
    if what == "bytes" {
        return bytes(count);
    }
    let bare = if what == "map-armed" { Bare::with_ahead(PER_CALL) } else { Bare::new() };
    match what.as_str() {
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
    let before = dhat::HeapStats::get().curr_bytes;
    drop(bare.map(count));
    let after = dhat::HeapStats::get().curr_bytes;
    println!("{}", after.saturating_sub(before));
}
