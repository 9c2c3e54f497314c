//! Time that the service takes for a batch, with a KVM and a device behind it that do nothing: by how much it grows with
//! the number of entries. What the kernel takes is not in it.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing to tell")]

mod bare;

use bare::{Bare, PER_CALL, map, retarget, unmap};
use criterion::{BenchmarkId, Criterion, Throughput};
use pvir_abi::{EntryRecord, Operation, Status};
use std::time::{Duration, Instant};

/// Entries: more than 512 are several calls.
const COUNTS: [u32; 5] = [1, 10, 64, 512, 2048];

/// Carries out `operation` on all of `records`, and tells how long the service was at it.
fn timed(bare: &Bare, operation: Operation, records: &[EntryRecord]) -> Duration {
    let parts = records.chunks(PER_CALL as usize);
    let took = parts.map(|part| {
        bare.ask(operation, part);
        let started = Instant::now();
        let status = bare.call();
        let took = started.elapsed();
        assert_eq!(status, Status::OK);
        took
    });
    took.sum()
}

/// One life of `count` entries; the time of one operation of it.
fn life(bare: &Bare, count: u32, wanted: Operation) -> Duration {
    let records: Vec<EntryRecord> = (0..count).map(map).collect();
    let mut took = Duration::ZERO;
    let mut mapped = Vec::new();
    for part in records.chunks(PER_CALL as usize) {
        let of_part = timed(bare, Operation::MAP, part);
        took += if wanted == Operation::MAP { of_part } else { Duration::ZERO };
        mapped.extend(bare.answer(part.len()));
    }
    for (operation, record) in
        [(Operation::RETARGET, retarget as fn(&EntryRecord) -> EntryRecord), (Operation::UNMAP, unmap)]
    {
        let records: Vec<EntryRecord> = mapped.iter().map(record).collect();
        let of_all = timed(bare, operation, &records);
        took += if wanted == operation { of_all } else { Duration::ZERO };
    }
    took
}

fn operations(criterion: &mut Criterion) {
    for operation in [Operation::MAP, Operation::RETARGET, Operation::UNMAP] {
        let mut group = criterion.benchmark_group(operation.name().unwrap());
        for count in COUNTS {
            group.throughput(Throughput::Elements(count.into()));
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                let bare = Bare::new();
                bencher.iter_custom(|times| (0..times).map(|_| life(&bare, count, operation)).sum());
            });
        }
    }
}

/// MAP of entries whose irqfds wait, armed ahead.
fn map_armed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("MAP, armed ahead");
    for count in COUNTS.into_iter().filter(|count| *count <= PER_CALL) {
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            let bare = Bare::with_ahead(PER_CALL);
            let armed_life = || {
                bare.arm();
                life(&bare, count, Operation::MAP)
            };
            bencher.iter_custom(|times| (0..times).map(|_| armed_life()).sum());
        });
    }
}

/// One entry is moved while `count` are mapped.
fn retarget_one(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("RETARGET of one");
    for count in COUNTS {
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            let bare = Bare::new();
            let moved = retarget(&bare.map(count)[0]);
            bencher
                .iter_custom(|times| (0..times).map(|_| timed(&bare, Operation::RETARGET, &[moved])).sum());
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    operations(&mut criterion);
    map_armed(&mut criterion);
    retarget_one(&mut criterion);
    criterion.final_summary();
}
