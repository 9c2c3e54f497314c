//! Bad input: the conformance suite's statements about what a host must refuse, asked of the real service in one go, and
//! for each conduit who it is that refuses a call from ring 3.

use crate::conformance;
use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::cpu::usermode;
use crate::machine::exit::ExitCode;
use crate::raw::{Raw, ring3};
use pvir_guest::Discovered;
use pvir_test_kernel::cmdline::CommandLine;

/// Statements and statuses about input that is refused, and that the rest of the call and of the state is as it was.
const ASKED: [&str; 53] = [
    "C1",
    "C3",
    "C4",
    "B1",
    "B4",
    "B5",
    "B6",
    "O1",
    "O2",
    "O3",
    "O4",
    "O5",
    "O6",
    "E1",
    "E2",
    "E3",
    "E7",
    "E9",
    "I2",
    "M5",
    "Q1",
    "Q2",
    "H2",
    "X1",
    "T5",
    "PARTIAL",
    "ABORTED",
    "BAD_ADDRESS",
    "UNALIGNED",
    "PRIVILEGE",
    "BAD_MAGIC",
    "BAD_VERSION",
    "BAD_OPERATION",
    "BAD_FLAGS",
    "RESERVED_NOT_ZERO",
    "BAD_COUNT",
    "NOT_ENABLED",
    "ALREADY_ENABLED",
    "UNSUPPORTED_FEATURE",
    "NO_DEVICE",
    "BAD_STORE",
    "STORE_UNSUPPORTED",
    "BAD_INDEX",
    "BAD_MESSAGE_COUNT",
    "BAD_ARCH",
    "BAD_VECTOR",
    "BAD_DESTINATION",
    "BROADCAST",
    "BAD_DESTINATION_MODE",
    "BAD_DELIVERY_MODE",
    "ALREADY_MAPPED",
    "STALE_HANDLE",
    "HANDLE_MISMATCH",
];

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let (discovered, conduit) = setup::discover(line)?;
    let raw = Raw::new(conduit).ok_or_else(|| setup::refuse(&"no memory for a block"))?;
    let mut checks = Checks::new();
    checks.expect("discovered", true, format_args!("{:?}", discovered.host));
    from_ring3(&raw, &discovered, &mut checks);
    let judged = conformance::judge(line, |statement| ASKED.contains(&statement.id))?;
    Ok(if checks.all_passed() { judged } else { ExitCode::Fail })
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
            usermode::Outcome::Returned(_) if attempt.is_by_hypervisor() => checks.expect(
                "ring3",
                attempt.is_refused(),
                format_args!("{name}: the hypervisor refuses it, the block is untouched: {untouched}"),
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
