//! The host's quotas, run into: what goes beyond is refused with its own status, the rest is granted, and nobody else
//! is harmed. Needs two devices with MSI-X, quotas that they can reach, and a VM quota below the two devices'.

use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::device_id;
use crate::machine::pci::{self, Function};
use crate::remapping::{Kernel, Session};
use crate::{cpu, println};
use arrayvec::ArrayVec;
use pvir_guest::abi::{DeviceId, Status};
use pvir_guest::{
    BatchMode, Entry, EntryError, Error, Irte, Live, MapRequest, MapResult, Masked, MsixEntry, MsixTable,
    NOT_MAPPED, Target,
};
use pvir_test_kernel::cmdline::CommandLine;

/// Most entries that a device may have mapped here.
const MAX: usize = 16;
const FIRST_VECTORS: [u8; 2] = [0x40, 0x80];

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let session = setup::open(line)?;
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let mut found = setup::with_msix(&functions);
    let tables = [found.next(), found.next()].map(|function| function.and_then(|f| Some((f, open(f)?))));
    let [Some((first, first_table)), Some((second, second_table))] = &tables else {
        checks.expect("devices", false, format_args!("two devices with MSI-X and a driver are needed"));
        return Ok(checks.finish("quotas"));
    };
    let banks = (Bank::new(first, first_table, 0), Bank::new(second, second_table, 1));
    if let (Some(mut first), Some(mut second)) = banks {
        exceed(&session, &mut first, &mut second, &mut checks);
        let given = [first, second].map(|bank| bank.give_back(&session));
        checks.expect("unmap", given == [true, true], format_args!("all given back: {given:?}"));
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("quotas"))
}

fn open(function: &Function) -> Option<MsixTable<Kernel>> {
    function.enable();
    MsixTable::open(Kernel, device_id(function.address)?).ok()
}

fn exceed(session: &Session, first: &mut Bank, second: &mut Bank, checks: &mut Checks) {
    let of_vm = session.limits().max_irtes as usize;
    let of_device = first.quota(session);
    println!(
        "quotas: {of_vm} for the VM, {of_device} for a device, tables of {} and {}",
        first.size(),
        second.size()
    );
    let left = of_vm.saturating_sub(of_device);
    let reachable = first.size() >= of_device + 2 && (1..of_device).contains(&left) && second.size() > left;
    if !reachable || of_device + 2 > MAX {
        let reason = Outcome::Skipped("these devices cannot reach the quotas");
        return checks.record("quotas", &reason, format_args!(""));
    }

    let map = first.map(session, of_device + 2, BatchMode::Partial);
    let right = map.granted == Ok(of_device) && map.is(&[(of_device, None), (2, Some(Status::NO_QUOTA))]);
    checks.expect("quota-of-device", right, format_args!("{map:?} of {}", of_device + 2));
    first.expect_delivery("first", checks);

    let map = second.map(session, left + 1, BatchMode::AllOrNothing);
    let aborted =
        map.granted.is_err() && map.is(&[(left, Some(Status::ABORTED)), (1, Some(Status::NO_QUOTA))]);
    checks.expect("quota-all-or-nothing", aborted, format_args!("{map:?} of {}", left + 1));
    let held = [first.held(session), second.held(session)];
    checks.expect("quota-all-or-nothing", held == [of_device, 0], format_args!("held after it: {held:?}"));

    let map = second.map(session, left + 1, BatchMode::Partial);
    let right = map.granted == Ok(left) && map.is(&[(left, None), (1, Some(Status::NO_QUOTA))]);
    checks.expect("quota-of-vm", right, format_args!("{map:?} of {}", left + 1));
    second.expect_delivery("second", checks);
    first.expect_delivery("first, unharmed", checks);

    let given = first.give_one_back(session);
    let map = second.map(session, 1, BatchMode::Partial);
    let held = [first.held(session), second.held(session)];
    let moved = given && map.granted == Ok(1) && held == [of_device - 1, left + 1];
    checks.expect(
        "quota-after-unmap",
        moved,
        format_args!("given back: {given}, then {map:?}, held: {held:?}"),
    );
    second.expect_delivery("second, one more", checks);
    first.expect_delivery("first, one less", checks);
}

/// What became of a batch.
#[derive(Debug)]
struct Mapped {
    granted: Result<usize, Error>,
    statuses: ArrayVec<Option<Status>, MAX>,
}

impl Mapped {
    /// Whether the results are so many of each, in this order; no status for what was granted.
    fn is(&self, expected: &[(usize, Option<Status>)]) -> bool {
        let expected = expected.iter().flat_map(|(count, status)| core::iter::repeat_n(*status, *count));
        self.statuses.iter().copied().eq(expected)
    }
}

/// A device and its entries: those from the front of its table are live.
struct Bank {
    id: DeviceId,
    driver: Device,
    free: ArrayVec<Entry<MsixEntry<Kernel>, Masked>, MAX>,
    live: ArrayVec<Entry<MsixEntry<Kernel>, Live>, MAX>,
    first_vector: u8,
}

impl Bank {
    fn new(function: &Function, table: &MsixTable<Kernel>, place: usize) -> Option<Self> {
        let mut driver = devices::probe(function).ok().flatten()?;
        driver.init();
        // the last is taken first
        let free = (0..table.len()).take(MAX).rev().filter_map(|index| table.claim(index)).collect();
        let id = device_id(function.address)?;
        Some(Self { id, driver, free, live: ArrayVec::new(), first_vector: *FIRST_VECTORS.get(place)? })
    }

    fn size(&self) -> usize {
        self.free.len() + self.live.len()
    }

    fn info(&self, session: &Session) -> Option<pvir_guest::DeviceInfo> {
        let mut info = [Err(EntryError::NotAsked)];
        session.device_info(&[self.id], &mut info).ok()?;
        info[0].ok()
    }

    fn quota(&self, session: &Session) -> usize {
        self.info(session).map_or(0, |info| info.max_irtes as usize)
    }

    fn held(&self, session: &Session) -> usize {
        self.info(session).map_or(usize::MAX, |info| info.irtes as usize)
    }

    /// Where entry `index` of the table goes.
    fn place(&self, index: usize) -> (usize, u8) {
        (index % cpu::count().max(1), self.first_vector + u8::try_from(index).unwrap_or(0))
    }

    /// Asks for the next `count` entries in one call; what is granted goes live.
    fn map(&mut self, session: &Session, count: usize, grant: BatchMode) -> Mapped {
        let entries = self.free.iter().rev().take(count);
        let requests: ArrayVec<MapRequest, MAX> = entries
            .map(|entry| {
                let (cpu, vector) = self.place(entry.origin().index as usize);
                let apic_id = cpu::by_index(cpu).map_or(0, |cpu| cpu.apic_id);
                MapRequest::new(entry.origin(), Target::fixed(apic_id, vector))
            })
            .collect();
        let mut results: ArrayVec<MapResult, MAX> = requests.iter().map(|_| NOT_MAPPED).collect();
        let granted = session.map_batch(&requests, &mut results, grant);
        let mut statuses = ArrayVec::new();
        for result in results {
            statuses.push(match &result {
                Ok(_) => None,
                Err(EntryError::Status(error)) => Some(error.status()),
                Err(_) => Some(Status::PENDING),
            });
            let Ok(irte) = result else { continue };
            let Some(entry) = self.free.pop() else { continue };
            if let Ok(programmed) = entry.program(irte) {
                self.live.push(programmed.unmask());
            }
        }
        Mapped { granted, statuses }
    }

    /// Each live entry raises once, and is handled once where it should be.
    fn expect_delivery(&mut self, what: &str, checks: &mut Checks) {
        let before = self.counts();
        for place in 0..self.live.len() {
            let index = self.live[place].origin().index as usize;
            let (cpu, vector) = self.place(index);
            let seen = interrupts::count(cpu, vector);
            let number = u16::try_from(index).unwrap_or(u16::MAX);
            self.driver.raise(number);
            wait_until(PATIENCE_MS, || interrupts::count(cpu, vector) > seen);
            self.driver.acknowledge(number);
        }
        let after = self.counts();
        let once = before
            .iter()
            .zip(&after)
            .all(|(before, after)| (after.0 - before.0, after.1 - before.1) == (1, 1));
        checks.expect("delivered", once, format_args!("{what}: {} entries, each once", self.live.len()));
    }

    /// Of each live entry: handled on its processor, and on all.
    fn counts(&self) -> ArrayVec<(u64, u64), MAX> {
        let count = |entry: &Entry<MsixEntry<Kernel>, Live>| {
            let (cpu, vector) = self.place(entry.origin().index as usize);
            (interrupts::count(cpu, vector), interrupts::total(vector))
        };
        self.live.iter().map(count).collect()
    }

    fn give_one_back(&mut self, session: &Session) -> bool {
        let masked = self.live.pop().and_then(|entry| entry.mask().ok());
        masked.is_some_and(|entry| session.unmap(entry.retire().1).is_ok())
    }

    /// All that is left, in one call.
    fn give_back(self, session: &Session) -> bool {
        let masked = self.live.into_iter().filter_map(|entry| entry.mask().ok());
        let mut irtes: ArrayVec<Option<Irte>, MAX> = masked.map(|entry| Some(entry.retire().1)).collect();
        let mut results: ArrayVec<_, MAX> = irtes.iter().map(|_| Err(EntryError::NotAsked)).collect();
        let count = irtes.len();
        session.unmap_batch(&mut irtes, &mut results, BatchMode::AllOrNothing) == Ok(count)
    }
}
