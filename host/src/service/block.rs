//! The request block, copied in once and copied out once.

use crate::memory::GuestRam;
use pvir_abi::{
    AttachRecord, BLOCK_ALIGN, CallFlags, DeviceRecord, EnableRecord, EntryRecord, FeaturesRecord,
    GuestPhysAddr, Header, Operation, RECORD_LEN, Status, block_len,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Room for a record of any kind.
type Unit = [u64; RECORD_LEN / 8];

/// A record that carries a status.
pub(super) trait Record: FromBytes + IntoBytes + Immutable + KnownLayout {
    /// The status field of the record.
    fn status(&mut self) -> &mut Status;
}

macro_rules! records {
    ($($record:ty),+) => {
        $(
            impl Record for $record {
                fn status(&mut self) -> &mut Status {
                    &mut self.status
                }
            }
            const _: () = assert!(size_of::<$record>() == RECORD_LEN);
            const _: () = assert!(align_of::<$record>() <= align_of::<Unit>());
        )+
    };
}
records!(FeaturesRecord, EnableRecord, DeviceRecord, AttachRecord, EntryRecord);

/// A request: our copy of what the guest wrote. The guest's memory is not read again.
pub(super) struct Block {
    at: GuestPhysAddr,
    pub(super) header: Header,
    /// The records, answered in place; empty as long as none are to be written back.
    records: Vec<Unit>,
    done: u32,
}

impl Block {
    /// Copies the header in.
    pub(super) fn copy_in(ram: &dyn GuestRam, at: GuestPhysAddr) -> Result<Self, Status> {
        if at.0 % BLOCK_ALIGN != 0 {
            return Err(Status::UNALIGNED);
        }
        let mut header = Header::new_zeroed();
        ram.read(at, header.as_mut_bytes()).map_err(|_| Status::BAD_ADDRESS)?;
        Ok(Self { at, header, records: Vec::new(), done: 0 })
    }

    fn records_at(&self) -> GuestPhysAddr {
        // No overflow: `copy_in` has read these bytes.
        GuestPhysAddr(self.at.0 + size_of::<Header>() as u64)
    }

    /// Copies the records in. `header.count` was validated before.
    fn copy_records(&self, ram: &dyn GuestRam) -> Result<Vec<Unit>, Status> {
        if !ram.is_ram(self.at, block_len(self.header.count)) {
            return Err(Status::BAD_ADDRESS);
        }
        let mut records = vec![Unit::new_zeroed(); self.header.count as usize];
        ram.read(self.records_at(), records.as_mut_slice().as_mut_bytes())
            .map_err(|_| Status::BAD_ADDRESS)?;
        Ok(records)
    }

    /// Answers records that stand for themselves.
    pub(super) fn answer_each<R: Record>(
        &mut self,
        ram: &dyn GuestRam,
        mut answer: impl FnMut(&mut R) -> Result<(), Status>,
    ) -> Status {
        self.answer_all(ram, |records: &mut [R]| {
            for record in records {
                let status = answer(record).err().unwrap_or(Status::OK);
                *record.status() = status;
            }
        })
    }

    /// Answers a single record whose status is that of the call.
    pub(super) fn answer_one<R: Record>(
        &mut self,
        ram: &dyn GuestRam,
        mut answer: impl FnMut(&mut R) -> Result<(), Status>,
    ) -> Status {
        let mut of_record = Status::OK;
        let status = self.answer_each(ram, |record: &mut R| {
            let result = answer(record);
            of_record = result.err().unwrap_or(Status::OK);
            result
        });
        if status == Status::PARTIAL { of_record } else { status }
    }

    /// Answers all records at once; `answer` gives each a status. The status of the call follows from theirs.
    pub(super) fn answer_all<R: Record>(
        &mut self,
        ram: &dyn GuestRam,
        answer: impl FnOnce(&mut [R]),
    ) -> Status {
        let mut units = match self.copy_records(ram) {
            Ok(units) => units,
            Err(status) => return status,
        };
        // Size and alignment were compared when this was compiled.
        let Ok(records) = <[R]>::mut_from_bytes(units.as_mut_slice().as_mut_bytes()) else {
            return Status::HOST_ERROR;
        };
        answer(records);
        self.done = records.iter_mut().map(|record| u32::from(*record.status() == Status::OK)).sum();
        // The flag was validated with the header: only operations that know how to abort have it. An UNMAP that the
        // host could not finish is not undone (U3): it was not aborted, even if none of its records is OK.
        let unfinished = self.header.operation == Operation::UNMAP
            && records.iter_mut().any(|r| [Status::DEVICE_ERROR, Status::HOST_ERROR].contains(r.status()));
        let all_or_nothing = self.header.flags & CallFlags::ALL_OR_NOTHING.bits() != 0 && !unfinished;
        self.records = units;
        if self.done == self.header.count {
            Status::OK
        } else if all_or_nothing && self.done == 0 {
            Status::ABORTED
        } else {
            Status::PARTIAL
        }
    }

    /// Writes the answer back, the header last. The status is the one for the conduit.
    pub(super) fn copy_out(mut self, ram: &dyn GuestRam, status: Status, epoch: u64) -> Status {
        self.header.status = status;
        self.header.done = self.done;
        self.header.epoch = epoch;
        let written = ram.write(self.records_at(), self.records.as_bytes()).or_else(|error| {
            // Nothing to write is no error; anything else was RAM when it was copied in.
            if self.records.is_empty() { Ok(()) } else { Err(error) }
        });
        match written.and_then(|()| ram.write(self.at, self.header.as_bytes())) {
            Ok(()) => status,
            Err(_) => Status::BAD_ADDRESS,
        }
    }
}
