//! A scripted host, for tests of guests: every answer, legal and hostile, that a request can get.
//!
//! [`ScriptedHost`] keeps no state. The handle and the pair of an entry follow from the entry itself, so that its
//! answers to MAP, RETARGET and QUERY agree. A guest's test writes one loop over [`ScriptedHost::all_answers`]: for
//! every hostile answer the guest must report that the host broke the contract and use nothing of it; for every legal
//! one it must not.
//!
//! What cannot stand in the bytes of one answer is not here: interrupts, and the event area.

mod entries;
mod header;
mod records;

use crate::{
    AttachRecord, DeviceId, DeviceRecord, Discovery, EnableRecord, EntryRecord, FeaturesRecord, Handle,
    Header, Operation, Pair, RECORD_LEN, Status, Store,
};
use alloc::string::String;
use alloc::vec::Vec;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Whether a host that keeps the contract may give an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerKind {
    /// A host may answer so: the guest must cope with it, and must not report a breach of the contract.
    Legal,
    /// No host that keeps the contract answers so: the guest must report it, and use nothing of the answer.
    Hostile,
}

/// One answer to one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What is particular about the answer, for messages of a test.
    pub name: String,
    /// Whether a host that keeps the contract may give it.
    pub kind: AnswerKind,
    /// The whole block as the guest finds it after the call: header and records.
    pub bytes: Vec<u8>,
    /// The status that the conduit answers.
    pub conduit: Status,
}

/// A host without state: what it must know of the VM in order to answer.
#[derive(Clone, Copy, Debug)]
pub struct ScriptedHost {
    /// What the host shows in CPUID.
    pub discovery: Discovery,
    /// The VM's epoch, 0 while pvir is not enabled. ENABLE answers with the next one.
    pub epoch: u64,
}

impl ScriptedHost {
    /// The handle that this host gives to an entry.
    #[must_use]
    pub fn handle(entry: &EntryRecord) -> Handle {
        Handle::new(Self::slot(entry), 1)
    }

    /// The pair that this host gives to an entry, in Intel's remappable format.
    #[must_use]
    pub fn pair(entry: &EntryRecord) -> Pair {
        let slot = u64::from(Self::slot(entry));
        Pair { address: 0xfee0_0010 | (slot & 0x7fff) << 5, data: 0 }
    }

    /// A number for the entry: different for the entries of a device below 2048, and mostly for those of others.
    fn slot(entry: &EntryRecord) -> u32 {
        let store = u32::from(entry.store != Store::MSIX) << 11;
        (u32::from(entry.device.bdf.0) & 7) << 12 | store | entry.index & 0x7ff
    }

    /// The answer of a host that carries out all that was asked. `request` is a header and its records.
    ///
    /// A request that is shorter than its header is taken as if zeros followed.
    #[must_use]
    pub fn honest(&self, request: &[u8]) -> Answer {
        let mut draft = Draft::new(request);
        let operation = draft.header.operation;
        let mut epoch = self.epoch;
        match operation {
            Operation::FEATURES => draft.each(|record| self.features(record)),
            Operation::ENABLE => {
                epoch += 1;
                draft.each(|record: &mut EnableRecord| record.status = Status::OK);
            }
            Operation::DEVICE_INFO => draft.each(records::device),
            Operation::DISABLE => epoch = 0,
            Operation::ATTACH | Operation::DETACH => {
                draft.each(|record: &mut AttachRecord| record.status = Status::OK);
            }
            operation => draft.each(|entry| entries::honest(operation, entry)),
        }
        draft.header.done = draft.header.count;
        draft.header.epoch = epoch;
        draft.say(Status::OK);
        draft.into_answer("all as asked".into(), AnswerKind::Legal)
    }

    /// Every answer to `request`, which is a header and its records. [`ScriptedHost::honest`] is the first; each of
    /// the others differs from it in one thing.
    pub fn all_answers(&self, request: &[u8]) -> impl Iterator<Item = Answer> + use<> {
        let honest = self.honest(request);
        let sent = Draft::new(request);
        let mut all = Vec::new();
        header::legal(&sent, &honest, &mut all);
        header::hostile(&sent, &honest, &mut all);
        match sent.header.operation {
            Operation::FEATURES => records::features(&honest, &mut all),
            Operation::ENABLE => records::enable(&sent, &honest, &mut all),
            Operation::DEVICE_INFO => records::devices(&sent, &honest, &mut all),
            Operation::DISABLE => {}
            Operation::ATTACH | Operation::DETACH => records::attached(&sent, &honest, &mut all),
            _ => entries::all(&sent, &honest, &mut all),
        }
        core::iter::once(honest).chain(all)
    }

    fn features(&self, record: &mut FeaturesRecord) {
        let Discovery { oldest, newest, features, max_records, conduits, .. } = self.discovery;
        *record = FeaturesRecord {
            status: Status::OK,
            oldest,
            newest,
            max_records,
            features: features.bits(),
            max_apic_id: 63,
            max_irtes: 4096,
            devices: 1,
            conduits: conduits.bits(),
            ..*record
        };
    }
}

/// What is done to a record, and its name.
type Change<R> = (&'static str, fn(&mut R));

/// A record that carries a status.
trait Record: FromBytes + FromZeros + IntoBytes + Immutable {}
impl Record for EntryRecord {}
impl Record for EnableRecord {}
impl Record for DeviceRecord {}
impl Record for AttachRecord {}
impl Record for FeaturesRecord {}

/// An answer that is being written.
#[derive(Clone)]
struct Draft {
    header: Header,
    bytes: Vec<u8>,
    conduit: Status,
}

impl Draft {
    fn new(request: &[u8]) -> Self {
        let mut bytes = request.to_vec();
        bytes.resize(request.len().max(RECORD_LEN), 0);
        let mut header = Header::new_zeroed();
        header.as_mut_bytes().copy_from_slice(&bytes[..RECORD_LEN]);
        Self { header, bytes, conduit: Status::PENDING }
    }

    fn of(answer: &Answer) -> Self {
        Self { conduit: answer.conduit, ..Self::new(&answer.bytes) }
    }

    /// The same status in the header and by the conduit.
    fn say(&mut self, status: Status) {
        self.header.status = status;
        self.conduit = status;
    }

    fn records(&self) -> usize {
        self.bytes.len() / RECORD_LEN - 1
    }

    fn record<R: Record>(&self, place: usize) -> R {
        let mut record = R::new_zeroed();
        let start = (place + 1) * RECORD_LEN;
        record.as_mut_bytes().copy_from_slice(&self.bytes[start..start + RECORD_LEN]);
        record
    }

    fn set<R: Record>(&mut self, place: usize, record: &R) {
        let start = (place + 1) * RECORD_LEN;
        self.bytes[start..start + RECORD_LEN].copy_from_slice(record.as_bytes());
    }

    fn change<R: Record>(&mut self, place: usize, change: impl FnOnce(&mut R)) {
        let mut record = self.record(place);
        change(&mut record);
        self.set(place, &record);
    }

    fn each<R: Record>(&mut self, mut change: impl FnMut(&mut R)) {
        (0..self.records()).for_each(|place| self.change(place, &mut change));
    }

    fn into_answer(self, name: String, kind: AnswerKind) -> Answer {
        let Self { header, mut bytes, conduit } = self;
        bytes[..RECORD_LEN].copy_from_slice(header.as_bytes());
        Answer { name, kind, bytes, conduit }
    }

    /// Adds an answer that differs from `honest` as `change` says.
    fn add(
        honest: &Answer,
        all: &mut Vec<Answer>,
        kind: AnswerKind,
        name: impl Into<String>,
        change: impl FnOnce(&mut Self),
    ) {
        let mut draft = Self::of(honest);
        change(&mut draft);
        all.push(draft.into_answer(name.into(), kind));
    }
}

/// A device that is not the request's.
const STRANGER: DeviceId = DeviceId { segment: 0x7777, bdf: crate::Bdf(0x7777) };
