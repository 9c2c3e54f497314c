//! What the second CPU does for the suite.

use super::fixture::Fixture;
use super::verdict::{Finding, Verdict, ensure, wrong};
use crate::machine::cpu;
use crate::machine::cpu::cpuid::cpuid;
use crate::machine::cpu::smp::{self, Job, SmpError};
use crate::raw::{Raw, instructions};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use pvir_guest::Discovered;
use pvir_guest::abi::{
    CPUID_BASE_STEP, Conduits, CpuidLeaf, Discovery, FeaturesRecord, MIN_CPUID_BASE, Operation, Status,
};
use spin::Mutex;

/// The CPU that helps.
pub(super) const HELPER: usize = 1;

/// A block for the helper, and what it was told.
static SECOND: Mutex<Option<(Raw, Discovered)>> = Mutex::new(None);
/// Ends what the helper does until it is told.
static STOP: AtomicBool = AtomicBool::new(false);
/// What the signature block was at the start, and what the helper's conduit said before its first call.
static AT_START: AtomicU64 = AtomicU64::new(0);
static BEFORE_FIRST: AtomicU64 = AtomicU64::new(u64::MAX);

/// Called before the first call that the helper makes.
pub(super) fn remember(raw: &Raw, discovered: &Discovered) {
    *SECOND.lock() = Raw::new(raw.conduit()).map(|raw| (raw, *discovered));
    AT_START.store(fingerprint(0), Ordering::Relaxed);
    if let Ok(said) = smp::run_on(HELPER, last, Conduits::all().bits().into()) {
        BEFORE_FIRST.store(said, Ordering::Relaxed);
    }
}

/// Has the helper call as this fixture does.
pub(super) fn follow(fixture: &Fixture) {
    if let Some((raw, discovered)) = SECOND.lock().as_mut() {
        *raw = raw.by(fixture.raw.conduit());
        *discovered = fixture.discovered;
    }
}

/// The helper, if there is one.
pub(super) fn needed() -> Verdict {
    if cpu::count() > HELPER { Ok(()) } else { Err(Finding::CannotShow("this machine has one CPU")) }
}

/// Why the helper did not do it.
fn failed(error: SmpError) -> Finding {
    match error {
        SmpError::Busy(_) => {
            Finding::CannotShow("the second CPU never came back from what it was given before")
        }
        error => wrong(format_args!("{error}")),
    }
}

/// Has the helper do something and waits for it.
pub(super) fn run(job: Job, argument: u64) -> Result<u64, Finding> {
    smp::run_on(HELPER, job, argument).map_err(failed)
}

/// Has the helper do something meanwhile; it is told to stop, and what it came to is the answer.
pub(super) fn meanwhile(job: Job, argument: u64, work: impl FnOnce() -> Verdict) -> Result<u64, Finding> {
    STOP.store(false, Ordering::Relaxed);
    smp::start_on(HELPER, job, argument).map_err(failed)?;
    let verdict = work();
    STOP.store(true, Ordering::Relaxed);
    let came = smp::wait_for(HELPER, 20_000).map_err(failed);
    verdict?;
    came
}

/// Whether the helper was told to stop.
pub(super) fn is_over() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// The signature block must be the same on every CPU and as it was at the start.
pub(super) fn same_block_everywhere() -> Verdict {
    let first = AT_START.load(Ordering::Relaxed);
    ensure!(first >> 56 == 1, "{} signature blocks", first >> 56);
    for index in 0..cpu::count() {
        let here = smp::run_on(index, fingerprint, 0).map_err(failed)?;
        ensure!(here == first, "cpu {index} shows another block: {here:#x}, at the start {first:#x}");
    }
    Ok(())
}

/// Number of blocks in bits 63:56, and a sum of what they say.
fn fingerprint(_: u64) -> u64 {
    let mut leaf = |number| {
        let leaf = cpuid(number, 0);
        CpuidLeaf { eax: leaf.eax, ebx: leaf.ebx, ecx: leaf.ecx, edx: leaf.edx }
    };
    let (mut blocks, mut sum) = (0u64, 0xcbf2_9ce4_8422_2325_u64);
    for base in (MIN_CPUID_BASE..MIN_CPUID_BASE + 0x100 * CPUID_BASE_STEP).step_by(CPUID_BASE_STEP as usize) {
        let Some(found) = Discovery::at(base, &mut leaf) else { continue };
        blocks += 1;
        for leaf in found.to_leaves(base) {
            for word in [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx] {
                sum = (sum ^ u64::from(word)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }
    blocks << 56 | sum >> 8
}

/// What the helper's conduit said before its first call; `None` where it cannot be asked.
pub(super) fn before_first() -> Option<u64> {
    Some(BEFORE_FIRST.load(Ordering::Relaxed)).filter(|said| *said != u64::MAX)
}

/// Job: the status of the last call of this CPU, by one of these conduits (bits of [`Conduits`]).
pub(super) fn last(conduits: u64) -> u64 {
    let second = SECOND.lock();
    let among = Conduits::from_bits_retain(u32::try_from(conduits).unwrap_or(0));
    let said = second.as_ref().and_then(|(_, discovered)| instructions::last_status(discovered, among));
    said.map_or(u64::MAX, u64::from)
}

/// Job: a DISABLE; the status that it got.
pub(super) fn disable(_: u64) -> u64 {
    let second = SECOND.lock();
    let answer =
        second.as_ref().map(|(raw, _)| raw.call::<FeaturesRecord>(&Raw::header(Operation::DISABLE, 0), &[]));
    answer.map_or(u64::MAX, |answer| answer.status.0.into())
}

/// Job: `times` good FEATURES; how many were answered OK, and in the upper half a bit for each number of IRTEs below
/// 32 that was seen.
pub(super) fn ask_features(times: u64) -> u64 {
    let second = SECOND.lock();
    let Some((raw, _)) = second.as_ref() else { return 0 };
    let (mut good, mut seen) = (0, 0u32);
    for _ in 0..times {
        let answer = raw.call(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
        let record = raw.read::<FeaturesRecord>(1);
        let right =
            (answer.status, answer.header.status, record.status) == (Status::OK, Status::OK, Status::OK);
        good += u64::from(right);
        seen |= 1 << record.irtes.min(31);
    }
    u64::from(seen) << 32 | good
}
