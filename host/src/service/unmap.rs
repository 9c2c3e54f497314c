//! UNMAP: give IRTEs back.

use super::counted::Counted;
use super::entry::{Takes, abort_others, clear_answer};
use super::vm::Vm;
use pvir_abi::{Entry, Handle, Status};
use std::collections::BTreeSet;

pub(super) fn unmap(vm: &mut Vm, records: &mut [Entry], whole: bool, counted: &Counted) {
    let mut given = BTreeSet::new();
    for record in records.iter_mut() {
        clear_answer(record, Takes::Handle);
        record.status = match vm.judge(record, Takes::Handle) {
            // One before in this call has taken it, so it names nothing any more, whatever entry the record names.
            Ok(_) | Err(Status::HANDLE_MISMATCH) if given.contains(&record.handle) => Status::STALE_HANDLE,
            Ok(_) => {
                given.insert(record.handle);
                Status::OK
            }
            Err(status) => status,
        };
    }
    if abort_others(records, whole) {
        return;
    }
    let handles: Vec<Handle> = given.into_iter().collect();
    vm.remember(&handles, counted);
    let stuck = vm.release(&handles);
    for record in records.iter_mut().filter(|record| record.status == Status::OK) {
        record.status = stuck.get(&record.handle).copied().unwrap_or(Status::OK);
    }
}
