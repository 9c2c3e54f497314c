//! A request block, or its answer: a copy that can be changed.

use pvir_abi::{
    AttachRecord, DeviceRecord, EnableRecord, EntryRecord, FeaturesRecord, GuestPhysAddr, Handle, Header,
    MAX_RECORDS, Operation, RECORD_LEN, Status, block_len,
};
use pvir_host::memory::{GuestRam, NotRam};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

type Record = [u8; RECORD_LEN];

/// Header and records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Block {
    pub(super) header: Header,
    /// None where the guest has sent none that can be read.
    records: Vec<Record>,
}

impl Block {
    /// A request of our own.
    pub(super) fn request<R: IntoBytes + Immutable>(
        like: &Header,
        operation: Operation,
        records: &[R],
    ) -> Self {
        let records = as_records(records.as_bytes());
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        Self { header: Header { operation, count, flags: 0, reserved: [0; 4], ..*like }, records }
    }

    /// Copies a guest's block in; `None` if its header is not in RAM. Records that are not are left to the service to
    /// miss, and so are more than there may be.
    pub(super) fn copy_in(ram: &dyn GuestRam, at: GuestPhysAddr) -> Option<Self> {
        let mut header = Header::new_zeroed();
        ram.read(at, header.as_mut_bytes()).ok()?;
        let mut records =
            vec![[0; RECORD_LEN]; if header.count > MAX_RECORDS { 0 } else { header.count as usize }];
        let whole = ram.is_ram(at, block_len(header.count));
        if !whole || ram.read(records_of(at), records.as_flattened_mut()).is_err() {
            records.clear();
        }
        Some(Self { header, records })
    }

    /// Copies an answer out, as the service does: records only if it has answered them, the header last.
    pub(super) fn copy_out(
        &self,
        ram: &dyn GuestRam,
        at: GuestPhysAddr,
        request: &Self,
    ) -> Result<(), NotRam> {
        if self.records != request.records {
            ram.write(records_of(at), self.records.as_flattened())?;
        }
        ram.write(at, self.header.as_bytes())
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [self.header.as_bytes(), self.records.as_flattened()].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (header, records) = Header::read_from_prefix(bytes).ok()?;
        Some(Self { header, records: as_records(records) })
    }

    /// An answer of this status that leaves the records as they were sent.
    pub(super) fn with_status(&self, status: Status) -> Self {
        Self { header: Header { status, done: 0, ..self.header }, ..self.clone() }
    }

    /// Whether its records have been answered.
    pub(super) fn is_answered(&self) -> bool {
        [Status::OK, Status::PARTIAL, Status::ABORTED].contains(&self.header.status)
    }

    /// Whether it is the answer to an operation, and its records have been answered.
    pub(super) fn answers(&self, operation: Operation) -> bool {
        self.header.operation == operation && self.is_answered()
    }

    /// Changes each record of an operation on entries.
    pub(super) fn each_entry(&mut self, change: impl FnMut(&mut EntryRecord)) {
        if self.header.operation.takes_entries() {
            self.each(change);
        }
    }

    /// Changes the record of an ENABLE.
    pub(super) fn each_enable(&mut self, change: impl FnMut(&mut EnableRecord)) {
        if self.header.operation == Operation::ENABLE {
            self.each(change);
        }
    }

    /// Changes the record of a FEATURES.
    pub(super) fn each_features(&mut self, change: impl FnMut(&mut FeaturesRecord)) {
        if self.header.operation == Operation::FEATURES {
            self.each(change);
        }
    }

    /// Changes each record of a DEVICE_INFO.
    pub(super) fn each_device(&mut self, change: impl FnMut(&mut DeviceRecord)) {
        if self.header.operation == Operation::DEVICE_INFO {
            self.each(change);
        }
    }

    /// Changes each record of an ATTACH or a DETACH.
    pub(super) fn each_attach(&mut self, change: impl FnMut(&mut AttachRecord)) {
        if self.header.operation.takes_devices() {
            self.each(change);
        }
    }

    fn each<R: FromBytes + IntoBytes + Immutable>(&mut self, mut change: impl FnMut(&mut R)) {
        for bytes in &mut self.records {
            if let Ok(mut record) = R::read_from_bytes(bytes) {
                change(&mut record);
                bytes.copy_from_slice(record.as_bytes());
            }
        }
    }

    /// Makes of it the answer to what the guest has sent, of which something was changed: *in* fields are the guest's.
    pub(super) fn restore(&mut self, sent: &Self) {
        let Header { magic, version, operation, flags, count, reserved, .. } = sent.header;
        self.header = Header { magic, version, operation, flags, count, reserved, ..self.header };
        if !self.is_answered() && operation != Operation::ENABLE {
            self.records.clone_from(&sent.records);
        }
        let mut before = sent.records.iter();
        self.each_enable(|record| {
            let Some(Ok(sent)) = before.next().map(|bytes| EnableRecord::read_from_bytes(bytes)) else {
                return;
            };
            let EnableRecord { device, status, refusal, .. } = *record;
            *record = EnableRecord { device, status, refusal, ..sent };
        });
        let mut before = sent.records.iter();
        self.each_entry(|record| {
            let Some(Ok(sent)) = before.next().map(|bytes| EntryRecord::read_from_bytes(bytes)) else {
                return;
            };
            let EntryRecord { status, handle, arch, routing, address, data, state, .. } = *record;
            let given = matches!(operation, Operation::MAP | Operation::QUERY) && status == Status::OK;
            let handle: Handle = if given { handle } else { sent.handle };
            *record = EntryRecord { status, handle, address, data, state, ..sent };
            if operation == Operation::QUERY {
                *record = EntryRecord { arch, routing, ..*record };
            }
        });
    }
}

fn records_of(at: GuestPhysAddr) -> GuestPhysAddr {
    GuestPhysAddr(at.0 + size_of::<Header>() as u64)
}

fn as_records(bytes: &[u8]) -> Vec<Record> {
    bytes.chunks_exact(RECORD_LEN).filter_map(|record| record.try_into().ok()).collect()
}
