//! The records of the contract, as 64 bytes that are copied into the block and out of it.

use crate::ContractViolation;
use crate::block::Chunk;
use pvir_abi::{AttachRecord, DeviceRecord, EnableRecord, EntryRecord, FeaturesRecord, Status};

/// A record of the contract.
pub(crate) trait Record: Copy {
    fn to_chunk(self) -> Chunk;
    fn from_chunk(chunk: Chunk) -> Self;
    fn status(&self) -> Status;
}

/// A record that may stand in a batch.
pub(crate) trait BatchRecord: Record {
    /// Checks what else `answer` says, whose status is a failure. `record` is its number within the call, for
    /// messages.
    fn check_failed(&self, record: usize, answer: &Self) -> Result<(), ContractViolation>;
}

macro_rules! record {
    ($($name:ty),*) => { $(
        impl Record for $name {
            fn to_chunk(self) -> Chunk {
                zerocopy::transmute!(self)
            }

            fn from_chunk(chunk: Chunk) -> Self {
                zerocopy::transmute!(chunk)
            }

            fn status(&self) -> Status {
                self.status
            }
        }
    )* };
}

record!(EntryRecord, DeviceRecord, AttachRecord, EnableRecord, FeaturesRecord);
