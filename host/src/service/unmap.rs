//! UNMAP: give IRTEs back.

use super::entry::{Takes, abort_others, clear_answer};
use super::vm::Vm;
use pvir_abi::{Entry, Handle, Status};
use std::collections::BTreeSet;

pub(super) fn unmap(vm: &mut Vm, records: &mut [Entry], whole: bool) {
    let mut given = BTreeSet::new();
    for record in records.iter_mut() {
        clear_answer(record, Takes::Handle);
        let judged = vm.judge(record, Takes::Handle);
        record.status = match judged {
            Err(status) => status,
            // The one before in this call has taken it.
            Ok(_) if !given.insert(record.handle) => Status::STALE_HANDLE,
            Ok(_) => Status::OK,
        };
    }
    if abort_others(records, whole) {
        return;
    }
    let handles: Vec<Handle> = given.into_iter().collect();
    vm.remember(&handles);
    let stuck = vm.release(&handles);
    for record in records.iter_mut().filter(|record| record.status == Status::OK) {
        record.status = stuck.get(&record.handle).copied().unwrap_or(Status::OK);
    }
}
