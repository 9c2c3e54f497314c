//! Several messages of one MSI capability: one IRTE for the guest, consecutive ones in the remapping table, a vector each.
//! The whole block moves, parks and goes together. Writing the capability is trapped: a program outside can count the exits
//! between two checkpoints.

use crate::harness::checks::{Checks, Outcome};
use crate::harness::counted_interrupt::{CountedInterrupt, Sum, refusal, report_entry};
use crate::harness::setup;
use crate::harness::vectors::{Destination, Vectors};
use crate::machine::console::report;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{QUIET_MS, wait_until};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::device_id;
use crate::machine::pci::{self, Function};
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use core::fmt;
use pvir_guest::abi::{DeviceId, Features, Status};
use pvir_guest::{Entry, Live, MapRequest, Masked, MsiCapability, Origin, StoreEntry, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// Most messages of a capability.
const MAX_MESSAGES: usize = 32;
/// How often each is raised in each stage, unless `rounds=` says otherwise.
const ROUNDS: u64 = 50;

type Lines = ArrayVec<CountedInterrupt, MAX_MESSAGES>;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let session = setup::open(line)?;
    report::checkpoint("enabled");
    let mut checks = Checks::new();
    if session.features().contains(Features::MSI_MULTI) {
        let functions = pci::enumerate();
        let tried: u32 =
            functions.iter().map(|function| device(&session, function, rounds, &mut checks)).sum();
        checks.expect("devices", tried > 0, format_args!("{tried} devices with several messages by MSI"));
    } else {
        let why = Outcome::Skipped("the host does not offer several messages by MSI");
        checks.record("multi", &why, format_args!(""));
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("multi"))
}

/// Answers how many devices were tried: one or none.
fn device(session: &Session, function: &Function, rounds: u64, checks: &mut Checks) -> u32 {
    let (Some(name), Some(id)) = (devices::name(function), device_id(function.address)) else { return 0 };
    if function.msi().is_none() {
        return 0;
    }
    let Some(info) = setup::info(session, id, name, checks) else { return 0 };
    if info.msi_messages < 2 {
        return 0;
    }
    let Some(driver) = setup::driver(function, checks) else { return 0 };
    let mut test = MultiMessageTest { session, name, id, driver, rounds, vectors: Vectors::new(), checks };
    test.refusals(info.msi_messages);
    let finished = MsiCapability::open(Kernel, id).and_then(|capability| {
        let messages = capability.messages().min(info.msi_messages);
        capability.claim(messages)
    });
    match finished {
        Ok(entry) => {
            let finished = test.run(entry);
            test.expect("finished", finished.is_some(), format_args!("all stages were gone through"));
        }
        Err(error) => test.expect("claim", false, format_args!("{error}")),
    }
    1
}

struct MultiMessageTest<'a> {
    session: &'a Session,
    name: &'static str,
    id: DeviceId,
    driver: Device,
    rounds: u64,
    vectors: Vectors,
    checks: &'a mut Checks,
}

impl MultiMessageTest<'_> {
    fn expect(&mut self, what: &str, right: bool, detail: fmt::Arguments<'_>) {
        self.checks.expect(what, right, format_args!("{} {}: {detail}", self.name, self.id));
    }

    /// Counts and vectors that no block has.
    fn refusals(&mut self, messages: u32) {
        let apic_id = Destination::on(0, 0).map_or(0, |place| place.apic_id);
        let half = u8::try_from(messages / 2).unwrap_or(1);
        let cases = [
            (0, 0x40, Status::BAD_MESSAGE_COUNT),
            (3, 0x40, Status::BAD_MESSAGE_COUNT),
            (messages * 2, 0x40, Status::BAD_MESSAGE_COUNT),
            (2, 0x41, Status::BAD_VECTOR),
            (messages, 0x40 + half, Status::BAD_VECTOR),
            (messages, 0x10, Status::BAD_VECTOR),
        ];
        for (count, vector, expected) in cases {
            let request = MapRequest::new(Origin::msi(self.id, count), Target::fixed(apic_id, vector));
            let said = refusal(&self.session.map(request));
            let right = said == Some(expected);
            self.expect("refused", right, format_args!("{count} messages from vector {vector:#x}: {said:?}"));
        }
    }

    /// A line for each message, all on one processor.
    fn lines(&mut self, origin: Origin, number: usize) -> Option<Lines> {
        let count = u8::try_from(origin.count).ok()?;
        let first = self.vectors.take_aligned(count)?;
        (first..)
            .take(count.into())
            .map(|vector| Some(CountedInterrupt::new(origin, Destination::on(number, vector)?)))
            .collect()
    }

    /// All stages. Answers nothing when one has failed so that the next makes no sense.
    fn run<T: StoreEntry + fmt::Debug>(&mut self, entry: Entry<T, Masked>) -> Option<()> {
        let origin = entry.origin();
        let mut first = self.lines(origin, 0)?;
        let mapped = self.session.map(first.first()?.request());
        self.expect("map", mapped.is_ok(), format_args!("{} messages in one IRTE", origin.count));
        let irte = mapped.ok()?;
        let pair = irte.pair();
        report_entry(&irte, first.first()?.place());
        report::checkpoint("mapped");
        let programmed = entry.program(irte);
        report::checkpoint("programmed");
        let mut live = programmed.ok()?.unmask();
        report::checkpoint("unmasked");
        self.storm("mapped", &mut first);
        report::checkpoint("stormed");

        let mut lines = self.lines(origin, 1)?;
        let moved = self.session.retarget(&mut live, lines.first()?.place().target());
        let kept = live.irte().pair() == pair;
        self.expect(
            "retarget",
            moved.is_ok() && kept,
            format_args!("the whole block: {moved:?}, pair kept: {kept}"),
        );
        report::checkpoint("retargeted");
        self.storm("retargeted", &mut lines);
        self.misaligned(&mut live, &lines);
        let live = self.disabled(live, &mut lines)?;
        let live = self.park(live, &mut lines)?;
        for (message, line) in (0..).zip(&lines) {
            line.report("released", message);
        }
        let exact = lines.iter().all(|line| line.sum().is_exact());
        self.expect("delivered", exact, format_args!("until the end, each once"));
        self.release(live)
    }

    /// Each message in turn, each handled before the next.
    fn storm(&mut self, stage: &str, lines: &mut Lines) {
        for _ in 0..self.rounds {
            for (message, line) in (0..).zip(lines.iter_mut()) {
                line.raise(|| self.driver.raise(message));
                self.driver.acknowledge(message);
            }
        }
        let mut all = Sum::default();
        let mut exact = true;
        for (message, line) in (0..).zip(lines.iter()) {
            let sum = line.report(stage, message);
            exact &= sum.is_exact();
            all += sum;
        }
        self.expect("delivered", exact, format_args!("{stage}, {} messages: {all}", lines.len()));
    }

    /// A vector that is no multiple of the count is refused, and the block stays where it is.
    fn misaligned<T: StoreEntry>(&mut self, live: &mut Entry<T, Live>, lines: &Lines) {
        let Some(Destination { apic_id, vector, .. }) = lines.first().map(CountedInterrupt::place) else {
            return;
        };
        let said = refusal(&self.session.retarget(live, Target::fixed(apic_id, vector + 1)));
        let held = self.session.verify(live).is_ok_and(|held| held.target == live.irte().target());
        let right = said == Some(Status::BAD_VECTOR) && held;
        self.expect("misaligned", right, format_args!("{said:?}, as before: {held}"));
    }

    /// Masked, which for a capability without mask bits is disabled, and enabled again: it sends as before. What is raised
    /// meanwhile a device does not send by the specification; the contract says nothing of it (statement M7), and a host that
    /// does not pass the bit on lets it through.
    fn disabled<T: StoreEntry + fmt::Debug>(
        &mut self,
        live: Entry<T, Live>,
        lines: &mut Lines,
    ) -> Option<Entry<T, Live>> {
        let masked = live.mask().ok()?;
        // Where single messages can be masked it would be held, and come later.
        if masked.is_pending().is_none() {
            let line = lines.first_mut()?;
            let before = line.handled();
            self.driver.raise(0);
            if wait_until(QUIET_MS, || line.handled() != before) {
                line.note_raised();
                let why = Outcome::Skipped("this host lets through what is raised while MSI is disabled");
                self.checks.record("disabled", &why, format_args!(""));
            } else {
                self.expect("disabled", true, format_args!("silent"));
            }
        }
        let live = masked.unmask();
        let line = lines.last_mut()?;
        let last = u16::try_from(line.origin().count - 1).ok()?;
        let came = line.raise(|| self.driver.raise(last));
        self.expect("enabled", came, format_args!("it sends again"));
        Some(live)
    }

    /// What messages raise while the block is parked comes at the first route, from each its own.
    fn park<T: StoreEntry>(&mut self, mut live: Entry<T, Live>, lines: &mut Lines) -> Option<Entry<T, Live>> {
        if !self.session.features().contains(Features::PARKING) {
            let why = Outcome::Skipped("the host does not offer parking");
            self.checks.record("park", &why, format_args!(""));
            return Some(live);
        }
        let parked = self.session.park(&mut live);
        let raised = [0, lines.len() - 1];
        let before = raised.map(|message| lines[message].handled());
        for message in raised {
            lines[message].note_raised();
            self.driver.raise(u16::try_from(message).ok()?);
        }
        let total = interrupts::grand_total();
        let quiet = !wait_until(QUIET_MS, || interrupts::grand_total() != total);
        let routed = self.session.retarget(&mut live, lines.first()?.place().target());
        let came =
            raised.into_iter().zip(before).filter(|(m, before)| lines[*m].comes_after(*before)).count();
        let right = parked.is_ok() && quiet && routed.is_ok() && came == raised.len();
        self.expect(
            "park",
            right,
            format_args!("held while parked: {quiet}, {came} of 2 came at the first route"),
        );
        Some(live)
    }

    /// Gives the block back, and sees that the device is silent.
    fn release<T: StoreEntry + fmt::Debug>(&mut self, live: Entry<T, Live>) -> Option<()> {
        let (entry, irte) = live.mask().ok()?.retire();
        let given = self.session.unmap(irte);
        let before = interrupts::grand_total();
        self.driver.raise(1);
        let quiet = !wait_until(QUIET_MS, || interrupts::grand_total() != before);
        drop(entry);
        self.expect("unmap", given.is_ok() && quiet, format_args!("{given:?}, silent after: {quiet}"));
        Some(())
    }
}
