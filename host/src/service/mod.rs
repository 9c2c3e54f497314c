//! The hypercall service: copy in, validate, act, copy out, undo in reverse.
//!
//! [`Service::call`] is the whole of it. `block` copies the request in and the answer out, `header` validates what is
//! common to all operations, and each operation has a file of its own; `release` is the one way in which IRTEs are
//! given back, whether by UNMAP, by DISABLE, after a failure half-way or at the end of the VM.

mod block;
mod counted;
mod device_info;
mod devices;
mod features;
mod header;
mod history;
mod holders;
mod live;
mod map;
mod prearm;
mod prearm_thread;
mod query;
mod record;
mod release;
mod retarget;
mod session;
mod statistics;
mod trapped;
mod unmap;
mod vm;

#[cfg(test)]
mod tests;

pub use history::IrteRecord;
pub use live::{Live, TrappedRecord};
pub use prearm_thread::PrearmThread;
pub use statistics::ServiceStatistics;
pub use trapped::ServedBy;

use crate::device::{Device, NotIsolated};
use crate::irte::IrteInfo;
use crate::kvm::{GsiPool, IrqRouter};
use crate::memory::GuestRam;
use block::Block;
use counted::Counted;
use prearm_thread::Bell;
use pvir_abi::{
    CallFlags, Conduits, DeviceId, Discovery, Features, GuestPhysAddr, MAX_RECORDS, Operation, Status,
    Version,
};
use record::BatchMode;
use statistics::Statistics;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vm::Vm;
use zerocopy::IntoBytes;

/// What the VMM decides about a VM.
#[derive(Clone, Debug)]
pub struct Config {
    /// APIC ids of all vCPUs; a call names its vCPU by the place in this list.
    pub apic_ids: Vec<u32>,
    /// Conduits that work for this VM on this machine.
    pub conduits: Conduits,
    /// MSR index, for [`Conduits::MSR`].
    pub msr: u32,
    /// I/O port, for [`Conduits::PORT`].
    pub port: u16,
    /// First GSI that the service may use: those below belong to the VM's I/O APIC.
    pub first_gsi: u32,
    /// Most IRTEs that the VM may hold.
    pub max_irtes: u32,
    /// Most IRTEs that one device may hold.
    pub max_irtes_per_device: u32,
    /// Most irqfds that are armed ahead of the guest's asking, so that MAP need not; 0 for none. Each holds a file
    /// descriptor and a GSI until it is used. Somebody must arm them: an [`PrearmThread`], or [`Service::arm_ahead`] now and then.
    pub armed_ahead: u32,
}

/// Why a device or a service could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No GSI would be left for devices.
    #[error("no GSI is left: first {first_gsi}, at most {max_irtes} IRTEs")]
    NoGsi {
        /// As configured.
        first_gsi: u32,
        /// As configured.
        max_irtes: u32,
    },
    /// A guest device id is used twice.
    #[error("device {0} is there already")]
    DuplicateDevice(DeviceId),
    /// Devices cannot come while the VM has pvir enabled.
    #[error("device {0} comes after the guest enabled pvir")]
    AlreadyEnabled(DeviceId),
}

/// The service of one VM.
pub struct Service {
    ram: Arc<dyn GuestRam>,
    discovery: Discovery,
    last: Vec<AtomicU32>,
    vm: Mutex<Vm>,
    /// Calls that want the lock.
    waiting: AtomicU32,
    bell: Arc<Bell>,
    statistics: Statistics,
    keeps_history: bool,
}

impl Service {
    /// Features that this version of the service offers.
    pub const FEATURES: Features = Features::MSI
        .union(Features::MSIX)
        .union(Features::IMS)
        .union(Features::MSI_MULTI)
        .union(Features::PARKING)
        .union(Features::EPOCH)
        .union(Features::LOGICAL_DESTINATION)
        .union(Features::LOWEST_PRIORITY)
        .union(Features::REDIRECTION_HINT);

    /// A service over a VM's RAM and KVM.
    ///
    /// # Errors
    /// [`SetupError::NoGsi`].
    pub fn new(
        config: &Config,
        ram: Arc<dyn GuestRam>,
        router: Box<dyn IrqRouter>,
    ) -> Result<Self, SetupError> {
        let (first_gsi, max_irtes) = (config.first_gsi, config.max_irtes);
        let gsis = GsiPool::new(first_gsi, max_irtes).ok_or(SetupError::NoGsi { first_gsi, max_irtes })?;
        let discovery = Discovery {
            oldest: Version::OLDEST,
            newest: Version::NEWEST,
            features: Self::FEATURES,
            max_records: MAX_RECORDS,
            conduits: config.conduits,
            msr: if config.conduits.contains(Conduits::MSR) { config.msr } else { 0 },
            port: if config.conduits.contains(Conduits::PORT) { config.port } else { 0 },
        };
        Ok(Self {
            ram,
            discovery,
            last: config.apic_ids.iter().map(|_| AtomicU32::new(Status::PENDING.0)).collect(),
            vm: Mutex::new(Vm::new(config, router, gsis)),
            waiting: AtomicU32::new(0),
            bell: Arc::default(),
            statistics: Statistics::default(),
            keeps_history: false,
        })
    }

    /// What the VMM shows in CPUID.
    #[must_use]
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Attaches a device under the name by which the guest knows it.
    ///
    /// # Errors
    /// [`SetupError::DuplicateDevice`], [`SetupError::AlreadyEnabled`].
    pub fn add_device(&self, id: DeviceId, device: Box<dyn Device>) -> Result<(), SetupError> {
        self.lock().add_device(id, device)
    }

    /// Whether each device is isolated, as ENABLE would validate it now.
    #[must_use]
    pub fn isolation(&self) -> Vec<(DeviceId, Result<(), NotIsolated>)> {
        self.lock().devices.iter().map(|(id, attached)| (*id, attached.device.isolated())).collect()
    }

    /// Carries out one call.
    ///
    /// `vcpu` is the caller's place in [`Config::apic_ids`], `cpl` its privilege level, `block` the address that the
    /// conduit carried. The answer goes back through the conduit; [`Service::last_status`] repeats it.
    pub fn call(&self, vcpu: usize, cpl: u8, block: GuestPhysAddr) -> Status {
        let status = if cpl == 0 { self.serve(block) } else { Status::PRIVILEGE };
        if let Some(last) = self.last.get(vcpu) {
            last.store(status.0, Ordering::Relaxed);
        }
        self.statistics.count_call(status);
        status
    }

    /// Status of the last call of a vCPU; [`Status::PENDING`] before the first.
    #[must_use]
    pub fn last_status(&self, vcpu: usize) -> Status {
        self.last.get(vcpu).map_or(Status::PENDING, |last| Status(last.load(Ordering::Relaxed)))
    }

    /// Gives everything back, as DISABLE does: for the end of the VM, or its reset.
    pub fn shut_down(&self) {
        let counted = self.count_last();
        let mut vm = self.lock();
        if vm.session.is_some() {
            vm.end_session(counted.as_ref());
        }
        vm.end_trapped();
        vm.sweep();
        let failed = vm.lines.disarm();
        vm.log_irqfds(&failed);
    }

    /// All IRTEs as they are now.
    #[must_use]
    pub fn irtes(&self) -> Vec<IrteInfo> {
        self.lock().infos()
    }

    /// What was asked and answered so far.
    #[must_use]
    pub fn statistics(&self) -> ServiceStatistics {
        let bounded = self.lock().log.asked();
        self.statistics.snapshot(bounded)
    }

    /// A panic under the lock would have left the state whole: nothing below panics half-way through a change, and
    /// refusing every later call would be a worse answer to a bug than going on.
    fn lock(&self) -> MutexGuard<'_, Vm> {
        self.vm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, at: GuestPhysAddr) -> Status {
        let mut block = match Block::copy_in(&*self.ram, at) {
            Ok(block) => block,
            Err(status) => return status,
        };
        let operation = block.header.operation;
        self.statistics.count_operation(operation);
        let counted = match operation {
            Operation::UNMAP | Operation::DISABLE => self.count_last(),
            _ => None,
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut vm = self.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let validated = header::validate(&block.header, &self.discovery, vm.session.is_some());
        let status = match validated {
            Ok(flags) => self.dispatch(&mut vm, &mut block, operation, flags, counted.as_ref()),
            Err(status) => status,
        };
        let (epoch, wants_prearm) = (vm.current_epoch(), vm.wants_prearm());
        drop(vm);
        let status = block.copy_out(&*self.ram, status, epoch);
        if wants_prearm {
            self.bell.ring();
        }
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
            Operation::ENABLE => block.answer_one(ram, |record| session::enable(vm, ram, record)),
            Operation::DISABLE => {
                vm.disable(counted);
                Status::OK
            }
            Operation::DEVICE_INFO => block.answer_each(ram, |record| device_info::answer(vm, record)),
            Operation::QUERY => block.answer_each(ram, |record| query::answer(vm, record)),
            Operation::MAP => block.answer_all(ram, |records| map::map(vm, records, mode)),
            Operation::RETARGET => block.answer_all(ram, |records| retarget::retarget(vm, records, mode)),
            Operation::UNMAP => block.answer_all(ram, |records| unmap::unmap(vm, records, mode, counted)),
            _ => Status::BAD_OPERATION,
        }
    }
}

/// Whether every byte of a reserved field is zero.
fn is_zero(field: &(impl IntoBytes + zerocopy::Immutable)) -> bool {
    field.as_bytes().iter().all(|byte| *byte == 0)
}
