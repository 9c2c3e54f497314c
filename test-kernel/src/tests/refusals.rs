//! Everything that a host must refuse, asked for by blocks that this kernel writes itself: each must get its status,
//! and change nothing.

mod calls;
mod entries;
mod places;

use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::cpu::usermode;
use crate::machine::exit::ExitCode;
use crate::machine::pci;
use crate::machine::pci::device_id;
use crate::raw::{Raw, ring3};
use pvir_guest::Discovered;
use pvir_guest::abi::{DeviceId, EnableRecord, Features, Operation, Status};
use pvir_test_kernel::cmdline::CommandLine;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let (discovered, conduit) = setup::discover(line)?;
    let raw = Raw::new(conduit).ok_or_else(|| setup::refuse(&"no memory for a block"))?;
    let mut checks = Checks::new();
    checks.expect("discovered", true, format_args!("{:?}", discovered.host));
    calls::before_enable(&raw, &mut checks);
    enable(&raw, &mut checks);
    calls::headers(&raw, &mut checks);
    places::run(&raw, &mut checks);
    from_ring3(&raw, &discovered, &mut checks);
    match first_device() {
        Some((id, entries)) => entries::run(&raw, id, entries, &mut checks),
        None => checks.expect("device", false, format_args!("no device with MSI-X")),
    }
    let answer = raw.call::<EnableRecord>(&Raw::header(Operation::DISABLE, 0), &[]);
    checks.expect("disable", answer.status == Status::OK, format_args!("{answer}"));
    let irtes = raw.irtes();
    checks.expect("nothing-left", irtes == 0, format_args!("{irtes} IRTEs held at the end"));
    Ok(checks.finish("refusals"))
}

/// Refused by the processor, or by the host.
fn from_ring3(raw: &Raw, discovered: &Discovered, checks: &mut Checks) {
    ring3::each(raw, discovered, |attempt| {
        let ring3::Attempt { name, outcome, untouched } = attempt;
        match outcome {
            usermode::Outcome::Faulted(fault) => checks.expect(
                "ring3",
                attempt.is_refused(),
                format_args!(
                    "{name}: the processor refuses it ({fault:?}), the block is untouched: {untouched}"
                ),
            ),
            usermode::Outcome::Returned(status) => checks.expect(
                "ring3",
                attempt.is_refused(),
                format_args!("{name}: the host answers {status:#x}, the block is untouched: {untouched}"),
            ),
        }
        if name == "port" && matches!(outcome, usermode::Outcome::Faulted(_)) {
            let reason = Outcome::Skipped("this machine gives ring 3 no ports: the host was not asked");
            checks.record("ring3-port-host", &reason, format_args!(""));
        }
    });
}

/// First what ENABLE refuses, then it.
fn enable(raw: &Raw, checks: &mut Checks) {
    let good = EnableRecord::request(Features::MSI | Features::MSIX | Features::PARKING, None);
    let header = Raw::header(Operation::ENABLE, 1);
    let bad = [
        ("feature", Status::UNSUPPORTED_FEATURE, EnableRecord { features: 1 << 63, ..good }),
        ("reserved", Status::RESERVED_NOT_ZERO, EnableRecord { reserved1: [0, 0, 1], ..good }),
        ("notify", Status::RESERVED_NOT_ZERO, EnableRecord { notify_vector: 0x40, ..good }),
        (
            "event-area-without-epoch",
            Status::RESERVED_NOT_ZERO,
            EnableRecord { event_area: raw.spare(), ..good },
        ),
        ("event-area-unaligned", Status::UNALIGNED, with_area(&good, raw.spare().0 + 8)),
        ("event-area-in-mmio", Status::BAD_ADDRESS, with_area(&good, 0xfee0_0000)),
        ("event-area-wraps", Status::BAD_ADDRESS, with_area(&good, u64::MAX - 63)),
    ];
    for (name, expected, record) in bad {
        let answer = raw.call(&header, &[record]);
        checks.expect("enable", answer.status == expected, format_args!("{name}: {answer}"));
    }
    let answer = raw.call(&header, &[good]);
    checks.expect("enable", answer.status == Status::OK, format_args!("granted: {answer}"));
    let answer = raw.call(&header, &[good]);
    checks.expect("enable", answer.status == Status::ALREADY_ENABLED, format_args!("twice: {answer}"));
}

fn with_area(good: &EnableRecord, address: u64) -> EnableRecord {
    use pvir_guest::abi::GuestPhysAddr;
    let features = good.features | Features::EPOCH.bits();
    EnableRecord { features, event_area: GuestPhysAddr(address), ..*good }
}

/// A device with MSI-X, its decoding on, and the size of its table.
fn first_device() -> Option<(DeviceId, u32)> {
    let functions = pci::enumerate();
    let function = setup::with_msix(&functions).next()?;
    function.enable();
    let entries = function.msix().map_or(0, |msix| u32::from(msix.table_size()));
    Some((device_id(function.address)?, entries))
}
