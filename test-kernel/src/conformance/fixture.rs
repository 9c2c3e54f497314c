//! What the statements are judged with: blocks, devices, and interrupts that are counted.

use super::subject::{Messages, Subject};
use super::verdict::{Finding, Verdict, ensure, wrong};
use crate::machine::cpu;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{QUIET_MS, wait_until};
use crate::raw::{Answer, Raw};
use arrayvec::ArrayVec;
use pvir_guest::Discovered;
use pvir_guest::abi::{
    EnableRecord, EntryFlags, EntryRecord, Features, FeaturesRecord, GuestPhysAddr, Operation, Routing,
    Status, X86Route,
};
use pvir_guest::conduit::HardwareConduit;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Vectors that statements use, in turn.
const VECTORS: core::ops::Range<u8> = 0x40..0xf0;
/// Features that this kernel knows; NOTIFY wants a vector and is asked for where it is judged.
const KNOWN: Features = Features::all().difference(Features::NOTIFY);

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
    pub(super) subjects: ArrayVec<Subject, 4>,
    pub(super) patience_ms: u64,
    next_vector: u8,
}

impl Fixture {
    pub(super) fn new(
        raw: Raw,
        discovered: Discovered,
        conduits: ArrayVec<(&'static str, HardwareConduit), 4>,
        patience_ms: u64,
    ) -> Self {
        let next_vector = VECTORS.start;
        Self { raw, discovered, conduits, subjects: ArrayVec::new(), patience_ms, next_vector }
    }

    /// Features that the host offers and this kernel knows.
    pub(super) fn offered(&self) -> Features {
        self.discovered.host.features & KNOWN
    }

    /// Skips a statement unless the host offers all of these.
    pub(super) fn needs(&self, features: Features, reason: &'static str) -> Verdict {
        if self.offered().contains(features) { Ok(()) } else { Err(Finding::CannotShow(reason)) }
    }

    /// The first device with MSI-X and at least four entries that can be raised.
    pub(super) fn msix(&self) -> Result<usize, Finding> {
        self.subjects
            .iter()
            .position(|subject| matches!(subject.messages, Messages::Msix(_)) && subject.entries >= 4)
            .filter(|_| self.offered().contains(Features::MSIX))
            .ok_or(Finding::CannotShow("no device here has four MSI-X entries and a driver"))
    }

    /// The first device with MSI alone.
    pub(super) fn msi(&self) -> Result<usize, Finding> {
        self.subjects
            .iter()
            .position(|subject| matches!(subject.messages, Messages::Msi))
            .filter(|_| self.offered().contains(Features::MSI))
            .ok_or(Finding::CannotShow("no device here has MSI alone and a driver"))
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
        self.subjects.iter_mut().for_each(Subject::silence);
        self.call::<EntryRecord>(Operation::DISABLE, &[]);
    }

    /// Calls with a good header.
    pub(super) fn call<R: IntoBytes + Immutable>(&self, operation: Operation, records: &[R]) -> Answer {
        self.raw.call(&Raw::header(operation, u32::try_from(records.len()).unwrap_or(0)), records)
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
            "{operation:?} of {:?} {} count {}: {:?} in place of {status:?} ({answer})",
            record.store,
            record.index,
            record.count,
            got.status
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
            "ENABLE: {answer}, record {:?}",
            record.status
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
        let (cpu, vector) = (Self::cpu_for(index), self.vector());
        let bare = self.subject(subject)?.entry(index);
        let entry = EntryRecord::map(bare.device, bare.store, index, Self::route(cpu, vector));
        Ok((entry, cpu, vector))
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
        self.subject(line.subject)?.raise(line.index);
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
        self.subject(subject)?.raise(index);
        self.nothing_came(before, control)?;
        self.subject(subject)?.acknowledge(index);
        Ok(())
    }

    /// Nothing arrived since there were `before` interrupts, and nothing arrives.
    pub(super) fn nothing_came(&mut self, before: u64, control: Option<&MappedEntry>) -> Verdict {
        let mut expected = before;
        if let Some(control) = control {
            let count = interrupts::count(control.cpu, control.vector);
            self.subject(control.subject)?.raise(control.index);
            self.comes(control, count)?;
            self.subject(control.subject)?.acknowledge(control.index);
            expected += 1;
        }
        let came = wait_until(QUIET_MS, || interrupts::grand_total() > expected);
        ensure!(!came, "{} interrupts arrived that should not have", interrupts::grand_total() - expected);
        Ok(())
    }
}
