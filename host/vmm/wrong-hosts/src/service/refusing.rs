//! A host whose devices are not isolated: every ENABLE that could be granted is REFUSED, as the contract has it.

use pvir_abi::{Bdf, DeviceId, EnableRecord, EventArea, Operation, Refusal, Status};

use super::block::Block;
use super::{Change, HonestService};

/// Refuses because of the first device.
pub(super) struct Refusing;

impl Change for Refusing {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        // The service judges the record. What it writes for a session that there is not is put back.
        let mut area = None;
        request.clone().each_enable(|record| area = Some(record.event_area));
        let mut before = [0; size_of::<EventArea>()];
        let kept = area.filter(|area| service.guest_ram().read(*area, &mut before).is_ok());
        let mut answer = service.call(request);
        if request.header.operation != Operation::ENABLE || answer.header.status != Status::OK {
            return answer;
        }
        service.call(&Block::request::<EnableRecord>(&request.header, Operation::DISABLE, &[]));
        if let Some(area) = kept.filter(|area| area.0 != 0) {
            // It was RAM a moment before.
            let _ = service.guest_ram().write(area, &before);
        }
        let header = &mut answer.header;
        (header.status, header.done, header.epoch) = (Status::REFUSED, 0, 0);
        answer.each_enable(|record| {
            record.status = Status::REFUSED;
            record.device = DeviceId::new(0, Bdf::new(0, 1, 0).unwrap_or_default());
            record.refusal = Refusal::SHARED_GROUP;
        });
        answer
    }
}
