//! Answers that are changed on their way to the guest. The service has done what it was asked to do.

use pvir_abi::{EntryRecord, EntryState, FIRST_DEVICE_VECTOR, Operation, Status, Store, Stores};

use super::block::Block;
use super::{Change, HonestService};
use crate::device::NEXT_HANDLE;
use crate::list::Wrong;

/// A message of a remapping unit, and nobody's.
const SOME_ADDRESS: u64 = 0xfee0_0010;

/// Something is wrong in the answer.
pub(super) struct Answers(pub(super) Wrong);

impl Change for Answers {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut answer = service.call(request);
        let (answered, operation) = (answer.is_answered(), answer.header.operation);
        let header = &mut answer.header;
        match self.0 {
            Wrong::DoneOfFailed if !answered => header.done = 1,
            Wrong::DoneCountsFailed if answered => header.done = header.count,
            Wrong::PartialIsOk if header.status == Status::PARTIAL => header.status = Status::OK,
            Wrong::EpochMissing if operation == Operation::MAP => header.epoch = 0,
            _ => {}
        }
        if answered {
            answer.each_entry(|record| self.record(operation, record));
            answer.each_features(|record| record.devices += u32::from(self.0 == Wrong::DeviceTooMany));
            answer.each_device(|record| {
                if self.0 == Wrong::GoneIsUnknown && record.status == Status::DEVICE_GONE {
                    record.status = Status::NO_DEVICE;
                }
                if self.0 == Wrong::ImsUnsaid {
                    record.stores &= !Stores::IMS.bits();
                }
            });
        }
        answer
    }
}

impl Answers {
    fn record(&self, operation: Operation, record: &mut EntryRecord) {
        let ok = record.status == Status::OK;
        match (self.0, operation) {
            (Wrong::InFieldChanged, _) => record.index ^= 1,
            (Wrong::FailedHasPair, _) if !ok => record.address = SOME_ADDRESS,
            (Wrong::ExistingUnsaid, Operation::MAP) => record.state &= !EntryState::EXISTING.bits(),
            (Wrong::RetargetNewPair, Operation::RETARGET) if ok => record.address += NEXT_HANDLE,
            (Wrong::ImsMasked, Operation::MAP) if ok && record.store == Store::IMS => {
                record.state |= EntryState::MASKED.bits();
            }
            (Wrong::VectorFirst, Operation::MAP | Operation::RETARGET)
                if !ok && record.flags == 0 && record.routing.vector < FIRST_DEVICE_VECTOR =>
            {
                record.status = Status::BAD_VECTOR;
            }
            (Wrong::QueryForgets, Operation::QUERY) if ok => record.routing.vector ^= 1,
            (Wrong::GoneIsUnknown, _) if record.status == Status::DEVICE_GONE => {
                record.status = Status::NO_DEVICE;
            }
            (Wrong::CutOffHasNoGsi, Operation::MAP) if record.status == Status::DEVICE_CUT_OFF => {
                record.status = Status::NO_GSI;
            }
            _ => {}
        }
    }
}

/// The header is right, and the conduit is not.
pub(super) struct ConduitSaysOk;

impl Change for ConduitSaysOk {
    fn conduit_status(&self, _: Status) -> Status {
        Status::OK
    }
}
