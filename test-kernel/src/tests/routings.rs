//! Routings that name a processor in other ways than by its APIC id: logical destinations, lowest priority, the
//! redirection hint. Each is delivered where the contract says. What names nobody, or several without leaving the choice to
//! the host, is refused; and so is all of it in a second session that does not take the features.

mod cases;

use crate::harness::checks::{Checks, Outcome};
use crate::harness::counted_interrupt::{CountedInterrupt, refusal, report_entry};
use crate::harness::setup;
use crate::harness::vectors::Destination;
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::device_id;
use crate::machine::pci::{self, Function};
use crate::remapping::{Kernel, Session};
use cases::{Case, Cases, Expected};
use core::fmt;
use pvir_guest::abi::{Features, Status, Stores};
use pvir_guest::{EnableOptions, Entry, MapRequest, Masked, MsiCapability, MsixTable, StoreEntry, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// How often each routing is tried, unless `rounds=` says otherwise.
const ROUNDS: u64 = 20;
/// The features that this test needs.
const FEATURES: Features =
    Features::LOGICAL_DESTINATION.union(Features::LOWEST_PRIORITY).union(Features::REDIRECTION_HINT);

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let taken = session.features();
    if !taken.contains(FEATURES) {
        let why = Outcome::Skipped("the host does not offer every routing");
        checks.record("features", &why, format_args!("{:#x}", taken.bits()));
    }
    each_device(&session, rounds, &mut checks);
    // Once more, with none of it taken.
    match session.disable() {
        Ok(disabled) => {
            let options = EnableOptions::new(taken & (Features::MSI | Features::MSIX));
            match disabled.pvir.enable(options) {
                Ok(session) => each_device(&session, rounds, &mut checks),
                Err(failed) => checks.expect("enable", false, format_args!("without the features: {failed}")),
            }
        }
        Err(failed) => checks.expect("disable", false, format_args!("{failed}")),
    }
    Ok(checks.finish("routings"))
}

fn each_device(session: &Session, rounds: u64, checks: &mut Checks) {
    let functions = pci::enumerate();
    let mut tried = 0u32;
    for function in functions.iter().filter(|function| devices::name(function).is_some()) {
        tried += 1;
        device(session, function, rounds, checks);
    }
    checks.expect("devices", tried > 0, format_args!("{tried} devices"));
}

fn device(session: &Session, function: &Function, rounds: u64, checks: &mut Checks) {
    let (Some(name), Some(id)) = (devices::name(function), device_id(function.address)) else { return };
    let Some(driver) = setup::driver(function, checks) else { return };
    let Some(info) = setup::info(session, id, name, checks) else { return };
    let mut test = RoutingTest { session, name, driver, rounds, checks };
    if info.stores.contains(Stores::MSIX) {
        match MsixTable::open(Kernel, id).as_ref().map(|table| table.claim(0)) {
            Ok(Some(entry)) => test.run(entry),
            Ok(None) => test.expect("claim", false, format_args!("somebody has entry 0")),
            Err(error) => test.expect("table", false, format_args!("{error}")),
        }
    } else {
        match MsiCapability::open(Kernel, id).and_then(|capability| capability.claim(1)) {
            Ok(entry) => test.run(entry),
            Err(error) => test.expect("claim", false, format_args!("{error}")),
        }
    }
}

struct RoutingTest<'a> {
    session: &'a Session,
    name: &'static str,
    driver: Device,
    rounds: u64,
    checks: &'a mut Checks,
}

impl RoutingTest<'_> {
    fn expect(&mut self, what: &str, right: bool, detail: fmt::Arguments<'_>) {
        self.checks.expect(what, right, format_args!("{}: {detail}", self.name));
    }

    fn run<T: StoreEntry + fmt::Debug>(&mut self, entry: Entry<T, Masked>) {
        let Some(cases) = Cases::of_this_machine() else {
            return self.expect("vectors", false, format_args!("too few for all cases"));
        };
        let mut entry = Some(entry);
        for case in &cases {
            let refused = case.refused_with(self.session.features());
            match (refused, case.expected) {
                (Some(status), _) => self.refused(entry.as_ref(), case, status, "feature-not-taken"),
                (None, Expected::Refused(status)) => self.refused(entry.as_ref(), case, status, "refused"),
                (None, Expected::At(place)) => {
                    entry = entry.and_then(|entry| self.delivered(entry, case, place));
                }
            }
        }
        self.expect("finished", entry.is_some(), format_args!("{} routings", cases.len()));
    }

    fn refused<T: StoreEntry>(
        &mut self,
        entry: Option<&Entry<T, Masked>>,
        case: &Case,
        expected: Status,
        name: &str,
    ) {
        let Some(entry) = entry else { return };
        let said = refusal(&self.session.map(MapRequest::new(entry.origin(), Target::Apic(case.route))));
        self.expect(name, said == Some(expected), format_args!("{}, {:?}: {said:?}", case.what, case.route));
    }

    /// Mapped with this routing it arrives at `place`, and retargeted to it from another one too. The host says what was
    /// asked, not what became of it. Answers nothing when the entry is lost.
    fn delivered<T: StoreEntry + fmt::Debug>(
        &mut self,
        entry: Entry<T, Masked>,
        case: &Case,
        place: Destination,
    ) -> Option<Entry<T, Masked>> {
        let target = Target::Apic(case.route);
        let irte = match self.session.map(MapRequest::new(entry.origin(), target)) {
            Ok(irte) => irte,
            Err(error) => {
                self.expect("delivered", false, format_args!("{}, {:?}: {error}", case.what, case.route));
                return Some(entry);
            }
        };
        report_entry(&irte, place);
        let mut live = entry.program(irte).ok()?.unmask();
        let mut line = CountedInterrupt::new(live.origin(), place);
        self.raise(&mut line);
        // Away and back again.
        let away = Destination::on(place.cpu + 1, place.vector)?;
        let moved =
            [self.session.retarget(&mut live, away.target()), self.session.retarget(&mut live, target)];
        self.raise(&mut line);
        let said = self.session.verify(&live).is_ok_and(|held| held.target == target);
        let sum = line.report(case.what, 0);
        let right = moved.iter().all(Result::is_ok) && said && sum.is_exact();
        self.expect(
            "delivered",
            right,
            format_args!(
                "{}, {:?} to APIC id {}: {sum}, said {said}, {moved:?}",
                case.what, case.route, place.apic_id
            ),
        );
        let (entry, irte) = live.mask().ok()?.retire();
        self.session.unmap(irte).ok()?;
        Some(entry)
    }

    fn raise(&mut self, line: &mut CountedInterrupt) {
        for _ in 0..self.rounds {
            line.raise(|| self.driver.raise(0));
            self.driver.acknowledge(0);
        }
    }
}
