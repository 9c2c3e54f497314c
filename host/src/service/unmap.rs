//! UNMAP: give IRTEs back.

use super::counted::Counted;
use super::record::{BatchMode, InputFields, abort_others, clear_answer};
use super::vm::Vm;
use crate::device::Origin;
use pvir_abi::{EntryRecord, Handle, Status};

pub(super) fn unmap(vm: &mut Vm, records: &mut [EntryRecord], mode: BatchMode, counted: Option<&Counted>) {
    let (mut given, mut handles) = (Slots::default(), Vec::with_capacity(records.len()));
    for record in records.iter_mut() {
        clear_answer(record, InputFields::Handle);
        record.status = match vm.validate(record, InputFields::Handle) {
            // One before in this call has taken it, so it names nothing any more, whatever entry the record names.
            Ok(_) | Err(Status::HANDLE_MISMATCH) if given.contains(record.handle) => Status::STALE_HANDLE,
            Ok(_) => {
                given.insert(record.handle);
                handles.push(record.handle);
                Status::OK
            }
            Err(status) => status,
        };
    }
    if abort_others(records, mode) {
        return;
    }
    vm.remember(&handles, counted);
    let stuck = vm.release(&handles);
    let unfinished = |record: &&mut EntryRecord| record.status == Status::OK && !stuck.is_empty();
    for record in records.iter_mut().filter(unfinished) {
        record.status = stuck.get(&Origin::of(record)).copied().unwrap_or(Status::OK);
    }
}

/// Live handles, a bit for the slot of each.
#[derive(Default)]
struct Slots(Vec<u64>);

impl Slots {
    fn contains(&self, handle: Handle) -> bool {
        let slot = handle.slot();
        self.0.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 != 0)
    }

    fn insert(&mut self, handle: Handle) {
        let (word, bit) = (handle.slot() as usize / 64, 1 << (handle.slot() % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }
}
