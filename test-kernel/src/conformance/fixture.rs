//! What the statements are judged with: blocks, devices, and interrupts that are counted.

use super::subject::{Messages, Subject};
use super::trial::Trials;
use super::verdict::{Finding, Told, Verdict, ensure, wrong};
use crate::machine::cpu;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{QUIET_MS, delay_us, wait_until};
use crate::raw::{Answer, Raw};
use arrayvec::ArrayVec;
use pvir_guest::Discovered;
use pvir_guest::abi::{
    DeviceRecord, EnableRecord, EntryFlags, EntryRecord, EventReason, Features, FeaturesRecord,
    GuestPhysAddr, Operation, Routing, Status, X86Route,
};
use pvir_guest::conduit::HardwareConduit;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Vectors that statements use, in turn.
const VECTORS: core::ops::Range<u8> = 0x40..0xf0;
/// Features that this kernel knows. NOTIFY wants a vector, and with ATTACH nothing can be mapped at once: both are
/// asked for where they are judged.
const KNOWN: Features = Features::all().difference(Features::NOTIFY.union(Features::ATTACH));

/// Microseconds without a call after which a host refuses nothing for its rate (O7).
const RATE_LIMITED_US: u64 = 1_000_000;

/// An entry that is mapped to a vector of one CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct MappedEntry {
    pub(super) subject: usize,
    pub(super) index: u32,
    pub(super) cpu: usize,
    pub(super) vector: u8,
    /// As the host answered.
    pub(super) entry: EntryRecord,
}

/// Everything that there is to judge with.
pub(super) struct Fixture {
    pub(super) raw: Raw,
    pub(super) discovered: Discovered,
    /// The conduits to try, one after the other; the first is the usual one.
    pub(super) conduits: ArrayVec<(&'static str, HardwareConduit), 4>,
    /// What became of each conduit that was tried.
    pub(super) trials: Trials,
    pub(super) subjects: ArrayVec<Subject, 4>,
    pub(super) patience_ms: u64,
    /// Whether who runs the host raises events that the console asks for.
    pub(super) events_by_host: bool,
    /// The device that whoever runs the host has still to let go on.
    pub(super) stopped_by_host: Option<usize>,
    next_vector: u8,
}

impl Fixture {
    pub(super) fn new(
        raw: Raw,
        discovered: Discovered,
        conduits: ArrayVec<(&'static str, HardwareConduit), 4>,
        trials: Trials,
        patience_ms: u64,
    ) -> Self {
        let next_vector = VECTORS.start;
        let subjects = ArrayVec::new();
        let (events_by_host, stopped_by_host) = (false, None);
        Self {
            raw,
            discovered,
            conduits,
            trials,
            subjects,
            patience_ms,
            events_by_host,
            stopped_by_host,
            next_vector,
        }
    }

    /// Features that the host offers and this kernel knows.
    pub(super) fn offered(&self) -> Features {
        self.discovered.host.features & KNOWN
    }

    /// Skips a statement unless the host offers all of these.
    pub(super) fn needs(&self, features: Features, reason: &'static str) -> Verdict {
        if self.offered().contains(features) { Ok(()) } else { Err(Finding::CannotShow(reason)) }
    }

    /// Skips a statement that needs so many records in one call, if the host takes fewer.
    pub(super) fn needs_records(&self, records: u32) -> Verdict {
        let enough = self.discovered.host.max_records >= records;
        if enough { Ok(()) } else { Err(Finding::CannotShow("the host takes fewer records in a call")) }
    }

    /// The device with MSI-X that shows most: one that can be raised, with four entries.
    pub(super) fn msix(&self) -> Result<usize, Finding> {
        if !self.offered().contains(Features::MSIX) {
            return Err(Finding::CannotShow("the host does not offer MSIX"));
        }
        self.best(|messages| matches!(messages, Messages::Msix(_)))
            .ok_or(Finding::CannotShow("no device here has MSI-X"))
    }

    /// The device with MSI alone that shows most.
    pub(super) fn msi(&self) -> Result<usize, Finding> {
        if !self.offered().contains(Features::MSI) {
            return Err(Finding::CannotShow("the host does not offer MSI"));
        }
        self.best(|messages| matches!(messages, Messages::Msi))
            .ok_or(Finding::CannotShow("no device here has MSI alone"))
    }

    /// All devices whose interrupts can be raised.
    pub(super) fn driven(&self) -> Result<ArrayVec<usize, 4>, Finding> {
        let all: ArrayVec<usize, 4> =
            (0..self.subjects.len()).filter(|place| self.subjects[*place].is_driven()).collect();
        if all.is_empty() { Err(Finding::CannotShow("no device here has a driver")) } else { Ok(all) }
    }

    fn best(&self, fits: impl Fn(&Messages) -> bool) -> Option<usize> {
        let fitting = self.subjects.iter().enumerate().filter(|(_, subject)| fits(&subject.messages));
        // The first of several that are as good.
        let rank = |subject: &Subject| (subject.is_driven(), subject.entries.min(4));
        fitting.rev().max_by_key(|(_, subject)| rank(subject)).map(|(place, _)| place)
    }

    /// Keeps to what the host lets a device have mapped at once. Asked before anything is enabled.
    pub(super) fn keep_to_quotas(&mut self) {
        let of_vm = self.features();
        for place in 0..self.subjects.len() {
            let Some(id) = self.subjects.get(place).map(|subject| subject.id) else { continue };
            let (_, info) = self.one(Operation::DEVICE_INFO, &DeviceRecord::request(id));
            let told = (of_vm.status, info.status) == (Status::OK, Status::OK);
            if let Some(subject) = self.subjects.get_mut(place).filter(|_| told) {
                subject.entries = subject.entries.min(info.max_irtes).min(of_vm.max_irtes);
            }
        }
    }

    /// Whether entry `index` of a device can be mapped beside those before it.
    pub(super) fn has_entry(&self, subject: usize, index: u32) -> bool {
        self.subjects.get(subject).is_some_and(|subject| index < subject.entries)
    }

    /// Another entry of a device, mapped and live, to compare with; `None` if the device has but one.
    pub(super) fn neighbour(&mut self, subject: usize) -> Result<Option<MappedEntry>, Finding> {
        if self.has_entry(subject, 1) { self.line(subject, 1).map(Some) } else { Ok(None) }
    }

    pub(super) fn subject(&mut self, subject: usize) -> Result<&mut Subject, Finding> {
        self.subjects.get_mut(subject).ok_or(Finding::CannotShow("no such device"))
    }

    /// A vector that was not used lately.
    pub(super) fn vector(&mut self) -> u8 {
        let vector = self.next_vector;
        self.next_vector = if vector + 1 < VECTORS.end { vector + 1 } else { VECTORS.start };
        vector
    }

    /// As it is before ENABLE.
    pub(super) fn reset(&mut self) {
        if let Some(subject) = self.stopped_by_host {
            // If it does not go on, statements about it say so.
            let _ = self.settle(subject);
        }
        self.subjects.iter_mut().for_each(Subject::silence);
        self.call::<EntryRecord>(Operation::DISABLE, &[]);
        // What an event has stopped goes on.
        self.subjects.iter_mut().for_each(|subject| subject.demand(EventReason::NONE));
    }

    /// Calls with a good header. What a host may refuse for a while is asked for again when it may not any more (O7).
    pub(super) fn call<R: IntoBytes + Immutable>(&self, operation: Operation, records: &[R]) -> Answer {
        let header = Raw::header(operation, u32::try_from(records.len()).unwrap_or(0));
        let answer = self.raw.call(&header, records);
        let may_be_refused = match operation {
            Operation::ENABLE | Operation::ATTACH | Operation::MAP => true,
            Operation::RETARGET => records.len() > 1,
            _ => false,
        };
        if answer.status != Status::RATE_LIMITED || !may_be_refused {
            return answer;
        }
        delay_us(RATE_LIMITED_US);
        self.raw.call(&header, records)
    }

    /// One record, and its answer.
    pub(super) fn one<R>(&self, operation: Operation, record: &R) -> (Answer, R)
    where
        R: IntoBytes + FromBytes + FromZeros + Immutable,
    {
        let answer = self.call(operation, core::slice::from_ref(record));
        (answer, self.raw.read(1))
    }

    /// One record that must get this status.
    pub(super) fn expect(
        &self,
        operation: Operation,
        record: &EntryRecord,
        status: Status,
    ) -> Result<EntryRecord, Finding> {
        let (answer, got) = self.one(operation, record);
        ensure!(
            got.status == status,
            "{operation:?} of {:?} {} count {}: {} in place of {status:?} ({answer})",
            record.store,
            record.index,
            record.count,
            Told(got.status)
        );
        Ok(got)
    }

    pub(super) fn features(&self) -> FeaturesRecord {
        self.one(Operation::FEATURES, &FeaturesRecord::request()).1
    }

    /// Where the event area lies.
    pub(super) fn area(&self) -> Option<GuestPhysAddr> {
        self.offered().contains(Features::EPOCH).then(|| self.raw.spare())
    }

    /// ENABLE with all that is offered.
    pub(super) fn enable(&mut self) -> Verdict {
        let (answer, record) = self.enable_with(self.offered(), self.area());
        if answer.status == Status::REFUSED {
            return Err(Finding::CannotShow("the host refuses ENABLE"));
        }
        ensure!(
            (answer.status, record.status) == (Status::OK, Status::OK),
            "ENABLE: {answer}, record {}",
            Told(record.status)
        );
        for table in self.subjects.iter().filter_map(Subject::table) {
            table.set_capability(true, false);
        }
        Ok(())
    }

    pub(super) fn enable_with(
        &self,
        features: Features,
        area: Option<GuestPhysAddr>,
    ) -> (Answer, EnableRecord) {
        self.one(Operation::ENABLE, &EnableRecord::request(features, area))
    }

    pub(super) fn disable(&self) -> Verdict {
        let answer = self.call::<EntryRecord>(Operation::DISABLE, &[]);
        ensure!(answer.status == Status::OK, "DISABLE: {answer}");
        Ok(())
    }

    /// A routing to a CPU.
    pub(super) fn route(cpu: usize, vector: u8) -> Routing {
        X86Route::fixed(Self::apic_id(cpu), vector).into()
    }

    pub(super) fn apic_id(cpu: usize) -> u32 {
        cpu::by_index(cpu).map_or(0, |cpu| cpu.apic_id)
    }

    /// A CPU for each index, in turn.
    pub(super) fn cpu_for(index: u32) -> usize {
        usize::try_from(index).unwrap_or(0) % cpu::count().max(1)
    }

    /// A good MAP of an entry, to a fresh vector.
    pub(super) fn request(
        &mut self,
        subject: usize,
        index: u32,
    ) -> Result<(EntryRecord, usize, u8), Finding> {
        if !self.has_entry(subject, index) {
            return Err(Finding::CannotShow(self.why_no_entry(subject, index)));
        }
        let (cpu, vector) = (Self::cpu_for(index), self.vector());
        let bare = self.subject(subject)?.entry(index);
        let entry = EntryRecord::map(bare.device, bare.store, index, Self::route(cpu, vector));
        Ok((entry, cpu, vector))
    }

    /// Why an entry cannot be mapped beside those before it.
    pub(super) fn why_no_entry(&self, subject: usize, index: u32) -> &'static str {
        match self.subjects.get(subject).and_then(Subject::table) {
            None => "the device has one message that the suite uses",
            Some(table) if u32::from(table.len()) > index => {
                "the host's quota, or what the device can raise, ends before the entry that it takes"
            }
            Some(_) => "the device has too few MSI-X entries",
        }
    }

    /// Maps an entry, programs it and unmasks it.
    pub(super) fn line(&mut self, subject: usize, index: u32) -> Result<MappedEntry, Finding> {
        let (request, cpu, vector) = self.request(subject, index)?;
        let entry = self.expect(Operation::MAP, &request, Status::OK)?;
        self.subject(subject)?.program(index, entry.pair());
        Ok(MappedEntry { subject, index, cpu, vector, entry })
    }

    /// A RETARGET of a line: what is to be sent, and the line as it is then.
    pub(super) fn moved(&mut self, line: &MappedEntry, cpu: usize) -> (EntryRecord, MappedEntry) {
        let vector = self.vector();
        let routing = Self::route(cpu, vector);
        let record = EntryRecord { routing, ..Self::bare(line) };
        let record = EntryRecord { arch: pvir_guest::abi::Arch::X86_APIC, ..record };
        (record, MappedEntry { cpu, vector, ..*line })
    }

    /// The line's entry with its handle and no routing: UNMAP, QUERY.
    pub(super) fn bare(line: &MappedEntry) -> EntryRecord {
        let EntryRecord { device, store, index, count, handle, .. } = line.entry;
        EntryRecord { count, ..EntryRecord::query(device, store, index).with_handle(handle) }
    }

    /// A record that parks the entry.
    pub(super) fn parked(line: &MappedEntry) -> EntryRecord {
        EntryRecord { flags: EntryFlags::PARKED.bits(), ..Self::bare(line) }
    }

    /// Raises the line once; it must arrive once at its place, and nothing elsewhere.
    pub(super) fn arrives(&mut self, line: &MappedEntry) -> Verdict {
        let (before, all) = (interrupts::count(line.cpu, line.vector), interrupts::grand_total());
        self.subject(line.subject)?.raise(line.index)?;
        let came = self.comes(line, before);
        let subject = self.subject(line.subject)?;
        subject.acknowledge(line.index);
        let (name, exact) = (subject.name, !subject.repeats());
        came?;
        let elsewhere = interrupts::grand_total() - all - 1;
        ensure!(!exact || elsewhere == 0, "{name} entry {}: {elsewhere} arrived elsewhere", line.index);
        Ok(())
    }

    /// Waits for one more interrupt of the line than `before`.
    pub(super) fn comes(&self, line: &MappedEntry, before: u64) -> Verdict {
        let came = wait_until(self.patience_ms, || interrupts::count(line.cpu, line.vector) > before);
        let MappedEntry { index, cpu, vector, .. } = line;
        if came {
            Ok(())
        } else {
            Err(wrong(format_args!("entry {index} did not arrive at cpu {cpu} vector {vector:#x}")))
        }
    }

    /// Raises an entry from which nothing may arrive anywhere. Another line is raised after it and waited for, if there
    /// is one, then a little longer.
    pub(super) fn is_silent(&mut self, subject: usize, index: u32, control: Option<&MappedEntry>) -> Verdict {
        let before = interrupts::grand_total();
        self.subject(subject)?.raise(index)?;
        self.nothing_came(before, control)?;
        self.subject(subject)?.acknowledge(index);
        Ok(())
    }

    /// Nothing arrived since there were `before` interrupts, and nothing arrives.
    pub(super) fn nothing_came(&mut self, before: u64, control: Option<&MappedEntry>) -> Verdict {
        let mut expected = before;
        if let Some(control) = control {
            let count = interrupts::count(control.cpu, control.vector);
            self.subject(control.subject)?.raise(control.index)?;
            self.comes(control, count)?;
            self.subject(control.subject)?.acknowledge(control.index);
            // A device that repeats itself may do so at any time after.
            if self.subject(control.subject)?.repeats() {
                wait_until(QUIET_MS, || false);
            }
            expected += interrupts::count(control.cpu, control.vector) - count;
        }
        let came = wait_until(QUIET_MS, || interrupts::grand_total() > expected);
        ensure!(!came, "{} interrupts arrived that should not have", interrupts::grand_total() - expected);
        Ok(())
    }
}
