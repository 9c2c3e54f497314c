//! ATTACH and DETACH.

use pvir_abi::{
    AttachRecord, Bdf, DeviceId, DeviceRecord, EntryFlags, EntryRecord, Features, Operation, Status, Store,
};

use super::block::Block;
use super::{Change, HonestService};

/// ENABLE with ATTACH hands over what there is on bus 0, and an ATTACH of it is OK.
pub(super) struct AttachedUnasked;

impl Change for AttachedUnasked {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut answer = service.call(request);
        let mut enabled = false;
        answer.each_enable(|record| {
            let features = Features::from_bits_retain(record.features);
            enabled = record.status == Status::OK && features.contains(Features::ATTACH);
        });
        if enabled {
            let slots = (0..32_u16).map(|slot| AttachRecord::request(DeviceId::new(0, Bdf(slot << 3))));
            let all: Vec<AttachRecord> = slots.collect();
            service.call(&Block::request(&request.header, Operation::ATTACH, &all));
        }
        if answer.answers(Operation::ATTACH) {
            say_ok(&mut answer, Status::ALREADY_ATTACHED);
        }
        answer
    }
}

/// After ATTACH each entry of the table is mapped parked and given back, and with it goes what was held for it.
pub(super) struct AttachLoses;

impl Change for AttachLoses {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        let mut answer = service.call(request);
        let mut attached = Vec::new();
        if answer.answers(Operation::ATTACH) {
            answer.each_attach(|record| {
                if record.status == Status::OK {
                    attached.push(record.device);
                }
            });
        }
        for device in attached {
            let asked =
                Block::request(&request.header, Operation::DEVICE_INFO, &[DeviceRecord::request(device)]);
            let mut entries = 0;
            service.call(&asked).each_device(|record| entries = record.msix_entries);
            for index in 0..entries {
                let parked = EntryFlags::PARKED.bits();
                let entry = EntryRecord::query(device, Store::MSIX, index);
                let asked = EntryRecord { flags: parked, ..entry };
                let mut mapped = service.call(&Block::request(&request.header, Operation::MAP, &[asked]));
                let mut back = Vec::new();
                mapped.each_entry(|record| {
                    if record.status == Status::OK {
                        back.push(entry.with_handle(record.handle));
                    }
                });
                if !back.is_empty() {
                    service.call(&Block::request(&request.header, Operation::UNMAP, &back));
                }
            }
        }
        answer
    }
}

/// DETACH says that it has given the device back. The next ATTACH finds it attached, and is OK.
pub(super) struct DetachKeeps;

impl Change for DetachKeeps {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        if request.header.operation == Operation::DETACH {
            // Judged as a QUERY of whether it is attached: nothing is changed.
            let mut answer = service.call_changed(request, |request| {
                request.header.operation = Operation::ATTACH;
            });
            if answer.answers(Operation::DETACH) {
                say_ok(&mut answer, Status::ALREADY_ATTACHED);
            }
            return answer;
        }
        let mut answer = service.call(request);
        if answer.answers(Operation::ATTACH) {
            say_ok(&mut answer, Status::ALREADY_ATTACHED);
        }
        answer
    }
}

/// Says OK in place of this status, in the records and in the header.
pub(super) fn say_ok(answer: &mut Block, meant: Status) {
    let mut done = 0;
    answer.each_attach(|record| {
        if record.status == meant {
            record.status = Status::OK;
        }
        done += u32::from(record.status == Status::OK);
    });
    answer.header.done = done;
    answer.header.status = if done == answer.header.count { Status::OK } else { Status::PARTIAL };
}
