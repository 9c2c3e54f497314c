//! Section 1: what CPUID shows.

use super::fixture::Fixture;
use super::trial::{ALL, Trial};
use super::verdict::{Verdict, ensure, wrong};
use super::{Tests, second_cpu};
use crate::raw::Raw;
use pvir_guest::abi::{Conduits, FeaturesRecord, Operation, Status, is_conduit_msr, is_conduit_port};

pub(super) const TESTS: Tests = &[("D1", d1), ("D2", d2), ("D3", d3), ("D5", d5)];

fn d1(_: &mut Fixture) -> Verdict {
    second_cpu::same_block_everywhere()
}

fn d2(fixture: &mut Fixture) -> Verdict {
    let host = fixture.discovered.host;
    ensure!(!host.conduits.is_empty(), "no conduit");
    ensure!(host.conduits.contains(Conduits::MSR) == (host.msr != 0), "MSR {:#x}", host.msr);
    ensure!(host.conduits.contains(Conduits::PORT) == (host.port != 0), "port {:#x}", host.port);
    for ((name, _), trial) in ALL.iter().zip(fixture.trials) {
        if let Some(trial) = trial.filter(|trial| *trial != Trial::Works) {
            return Err(wrong(format_args!("{name} is advertised, and {trial}")));
        }
    }
    for (name, conduit) in &fixture.conduits {
        let answer =
            fixture.raw.by(*conduit).call(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
        ensure!(answer.status == Status::OK, "{name}: {answer}");
    }
    Ok(())
}

fn d3(fixture: &mut Fixture) -> Verdict {
    let (host, record) = (fixture.discovered.host, fixture.features());
    let block = (host.oldest, host.newest, host.features.bits(), host.conduits.bits(), host.max_records);
    let said = (record.oldest, record.newest, record.features, record.conduits, record.max_records);
    ensure!(block == said, "cpuid {block:x?}, FEATURES {said:x?}");
    Ok(())
}

fn d5(fixture: &mut Fixture) -> Verdict {
    let host = fixture.discovered.host;
    let has = |conduit| host.conduits.contains(conduit);
    ensure!(!has(Conduits::MSR) || is_conduit_msr(host.msr), "MSR {:#x}", host.msr);
    ensure!(!has(Conduits::PORT) || is_conduit_port(host.port), "port {:#x}", host.port);
    Ok(())
}
