//! One request, from its block in the guest's memory to the operation that it names, and back.

use super::block::Block;
use super::counted::Counted;
use super::record::BatchMode;
use super::vm::Vm;
use super::{Service, attach, device_info, features, header, map, query, rate, retarget, session, unmap};
use crate::work::Cost;
use pvir_abi::{CallFlags, GuestPhysAddr, Operation, Status};
use std::time::Duration;

impl Service {
    /// Carries out the request in the block at `at`: copied in, validated, done, copied out.
    pub(super) fn serve(&self, at: GuestPhysAddr) -> Status {
        let mut block = match Block::copy_in(&*self.ram, at) {
            Ok(block) => block,
            Err(status) => return status,
        };
        let operation = block.header.operation;
        self.statistics.count_operation(operation);
        let counted = match operation {
            Operation::UNMAP | Operation::DETACH | Operation::DISABLE => self.count_last(),
            _ => None,
        };
        let mut vm = self.lock_first();
        let validated = header::validate(
            &block.header,
            &self.discovery,
            vm.session.as_ref().map(|session| session.features),
        );
        let refusable = rate::may_be_refused(&block.header);
        let mut delay = Duration::ZERO;
        if counted.is_some() {
            vm.lines.work().add(Cost::COUNTS);
        }
        let status = match validated {
            Ok(_) if refusable && !self.admits(&mut vm) => Status::RATE_LIMITED,
            Ok(flags) => {
                vm.lines.work().add(Cost::CALL + Cost::RECORD.times(block.header.count as usize));
                let status = self.dispatch(&mut vm, &mut block, operation, flags, counted.as_ref());
                let owed = self.charge(&mut vm);
                // What may be refused waits for the next time, and nothing else does.
                delay = if refusable { Duration::ZERO } else { owed };
                status
            }
            // The counts were read all the same.
            Err(status) if counted.is_some() => {
                delay = self.charge(&mut vm);
                status
            }
            Err(status) => status,
        };
        vm.announce_owed();
        let (epoch, wants_prearm) = (vm.current_epoch(), vm.wants_prearm());
        let has_started = vm.lines.has_started();
        drop(vm);
        let status = block.copy_out(&*self.ram, status, epoch);
        if wants_prearm {
            self.bell.ring();
        }
        if has_started {
            self.storm_bell.ring();
        }
        self.delay(delay);
        status
    }

    /// Hands the records to the operation. The status is that of the call.
    fn dispatch(
        &self,
        vm: &mut Vm,
        block: &mut Block,
        operation: Operation,
        flags: CallFlags,
        counted: Option<&Counted>,
    ) -> Status {
        let ram = &*self.ram;
        let mode = BatchMode::of(flags);
        match operation {
            Operation::FEATURES => {
                block.answer_each(ram, |record| features::answer(vm, &self.discovery, record))
            }
            Operation::ENABLE => {
                let offered = self.discovery.features;
                block.answer_one(ram, |record| session::enable(vm, ram, offered, record))
            }
            Operation::DISABLE => {
                vm.disable(counted);
                Status::OK
            }
            Operation::DEVICE_INFO => block.answer_each(ram, |record| device_info::answer(vm, record)),
            Operation::ATTACH => block.answer_each(ram, |record| attach::attach(vm, record)),
            Operation::DETACH => block.answer_each(ram, |record| attach::detach(vm, record, counted)),
            Operation::QUERY => block.answer_each(ram, |record| query::answer(vm, record)),
            Operation::MAP => block.answer_all(ram, |records| map::map(vm, records, mode)),
            Operation::RETARGET => block.answer_all(ram, |records| retarget::retarget(vm, records, mode)),
            Operation::UNMAP => block.answer_all(ram, |records| unmap::unmap(vm, records, mode, counted)),
            _ => Status::BAD_OPERATION,
        }
    }
}
