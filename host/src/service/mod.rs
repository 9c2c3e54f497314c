//! The hypercall service of one VM.
//!
//! [`Service::call`] carries out one request. `block` copies the request in and the answer out, `header` validates
//! what is common to all operations, and each operation has a file of its own. IRTEs are given back in one place,
//! `release`, after UNMAP and DISABLE, after a failure half-way, and at the end of the VM. [`PrearmThread`] does the
//! slow part of that, and of MAP, beside the guest's calls.

mod attach;
mod bell;
mod block;
mod config;
mod counted;
mod device_info;
mod devices;
mod dispatch;
mod events;
mod features;
mod header;
mod history;
mod holders;
mod live;
mod map;
mod prearm;
mod prearm_thread;
mod query;
mod rate;
mod record;
mod release;
mod reset;
mod retarget;
mod saved;
mod session;
mod statistics;
mod storm;
mod trapped;
mod unmap;
mod vm;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use events::{Event, RaiseError, Raised};
pub use history::IrteRecord;
pub use live::{Live, TrappedRecord};
pub use prearm_thread::PrearmThread;
pub use rate::{Clock, RateLimit};
pub use saved::{DamagedState, RestoreError, SaveError, SaveOptions, SavedState};
pub use statistics::ServiceStatistics;
pub use storm::{CutOffDevice, Looked, Storm, StormLimit, StormThread, StormWatch};
pub use trapped::ServedBy;

use crate::device::{Device, NotIsolated};
use crate::irte::IrteInfo;
use crate::kvm::{GsiPool, IrqRouter};
use crate::memory::GuestRam;
use bell::Bell;
use pvir_abi::{
    CONDUIT_PORT_STEP, Conduits, DeviceId, Discovery, Features, GuestPhysAddr, MAX_CONDUIT_MSR,
    MAX_CONDUIT_PORT, MIN_CONDUIT_MSR, MIN_CONDUIT_PORT, Status, is_conduit_msr, is_conduit_port,
};
use rate::SystemClock;
use statistics::Statistics;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vm::Vm;
use zerocopy::IntoBytes;

/// Why a service could not be made or a device could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// No GSI is left for devices.
    #[error("no GSI is left: first {first_gsi}, at most {max_irtes} IRTEs")]
    NoGsi {
        /// [`Config::first_gsi`].
        first_gsi: u32,
        /// [`Config::max_irtes`].
        max_irtes: u32,
    },
    /// [`Config::msr`] lies outside of the range that the contract keeps for it (statement D5): no guest would use it.
    #[error("MSR {0:#x} cannot be a conduit, take one of {MIN_CONDUIT_MSR:#x} to {MAX_CONDUIT_MSR:#x}")]
    MsrOutOfRange(u32),
    /// [`Config::port`] lies outside of the range that the contract keeps for it (statement D5): no guest would use it.
    #[error(
        "I/O port {0:#x} cannot be a conduit, take a multiple of {CONDUIT_PORT_STEP} from {MIN_CONDUIT_PORT:#x} to \
         {MAX_CONDUIT_PORT:#x}"
    )]
    PortOutOfRange(u16),
    /// The VM has a device with this id already.
    #[error("device {0} is there already")]
    DuplicateDevice(DeviceId),
}

/// The hypercall service of one VM. All its functions may be called from any thread.
pub struct Service {
    ram: Arc<dyn GuestRam>,
    discovery: Discovery,
    last: Vec<AtomicU32>,
    vm: Mutex<Vm>,
    /// Calls that wait for the lock.
    waiting: AtomicU32,
    bell: Arc<Bell>,
    storm_limit: StormLimit,
    /// Rung when an interrupt is started, for the thread that looks for storms.
    storm_bell: Arc<Bell>,
    statistics: Statistics,
    keeps_history: bool,
    clock: Arc<dyn Clock>,
}

impl Service {
    /// The features that this version of the service offers with every router, and that change nothing of what a guest
    /// does that takes them all. ATTACH comes to them, and NOTIFY if the router [can signal](IrqRouter::can_signal).
    pub const FEATURES: Features = Features::MSI
        .union(Features::MSIX)
        .union(Features::IMS)
        .union(Features::MSI_MULTI)
        .union(Features::PARKING)
        .union(Features::EPOCH)
        .union(Features::LOGICAL_DESTINATION)
        .union(Features::LOWEST_PRIORITY)
        .union(Features::REDIRECTION_HINT);

    /// A service over the VM's RAM and the VM's KVM.
    ///
    /// # Errors
    /// [`SetupError::NoGsi`] if `config` leaves no GSI for devices; [`SetupError::MsrOutOfRange`] or
    /// [`SetupError::PortOutOfRange`] if it names a conduit that no guest would use.
    pub fn new(
        config: &Config,
        ram: Arc<dyn GuestRam>,
        router: Box<dyn IrqRouter>,
    ) -> Result<Self, SetupError> {
        let (first_gsi, max_irtes) = (config.first_gsi, config.max_irtes);
        let gsis = match router.gsis() {
            Some(lent) => GsiPool::within(lent.start.max(first_gsi)..lent.end, max_irtes),
            None => GsiPool::new(first_gsi, max_irtes),
        };
        let gsis = gsis.ok_or(SetupError::NoGsi { first_gsi, max_irtes })?;
        let has = |conduit| config.conduits.contains(conduit);
        if has(Conduits::MSR) && !is_conduit_msr(config.msr) {
            return Err(SetupError::MsrOutOfRange(config.msr));
        }
        if has(Conduits::PORT) && !is_conduit_port(config.port) {
            return Err(SetupError::PortOutOfRange(config.port));
        }
        let mut features = Self::FEATURES | Features::ATTACH;
        features.set(Features::NOTIFY, router.can_signal());
        let mut discovery = Discovery::new(features).with_conduits(config.conduits);
        if has(Conduits::MSR) {
            discovery = discovery.with_msr(config.msr);
        }
        if has(Conduits::PORT) {
            discovery = discovery.with_port(config.port);
        }
        Ok(Self {
            ram,
            discovery,
            last: config.apic_ids.iter().map(|_| AtomicU32::new(Status::PENDING.0)).collect(),
            vm: Mutex::new(Vm::new(config, router, gsis)),
            waiting: AtomicU32::new(0),
            bell: Arc::default(),
            storm_limit: config.storm_limit,
            storm_bell: Arc::default(),
            statistics: Statistics::default(),
            keeps_history: false,
            clock: Arc::new(SystemClock::default()),
        })
    }

    /// With another clock for [`Config::rate_limit`] and a [`StormThread`].
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The contents of the discovery block that the VMM shows in CPUID.
    #[must_use]
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Adds a device under `id`, the segment and BDF at which the guest finds it.
    ///
    /// A device may come while the guest has enabled pvir (docs/abi.md, I5 to I7). It comes trapped. A guest that took
    /// ATTACH may take it at once; to any other guest it is not there before its next ENABLE. The guest is told by what
    /// the VMM has for that (ACPI, a hot-plug port), and not by an event.
    ///
    /// # Errors
    /// [`SetupError::DuplicateDevice`]. `device` is then dropped.
    pub fn add_device(&self, id: DeviceId, device: Box<dyn Device>) -> Result<(), SetupError> {
        self.lock().add_device(id, device)
    }

    /// Validates the isolation of each device, as ENABLE would validate it now.
    #[must_use]
    pub fn isolation(&self) -> Vec<(DeviceId, Result<(), NotIsolated>)> {
        self.lock().devices.iter().map(|(id, attached)| (*id, attached.device.isolated())).collect()
    }

    /// Carries out one call.
    ///
    /// `vcpu` is the index of the calling vCPU in [`Config::apic_ids`], `cpl` its privilege level (0 to 3), and
    /// `block` the guest physical address of the request block, which the conduit has carried. The answer is the
    /// status for the conduit; [`Service::last_status`] gives it again.
    pub fn call(&self, vcpu: usize, cpl: u8, block: GuestPhysAddr) -> Status {
        let status = if cpl == 0 { self.serve(block) } else { Status::PRIVILEGE };
        if let Some(last) = self.last.get(vcpu) {
            last.store(status.0, Ordering::Relaxed);
        }
        self.statistics.count_call(status);
        status
    }

    /// The status of the last call of the vCPU with index `vcpu`; [`Status::PENDING`] before its first call.
    #[must_use]
    pub fn last_status(&self, vcpu: usize) -> Status {
        self.last.get(vcpu).map_or(Status::PENDING, |last| Status(last.load(Ordering::Relaxed)))
    }

    /// Gives back everything that the VM holds, as DISABLE does, for the end of the VM. Devices that were cut off may go on
    /// then. It also detaches the irqfds that are armed ahead, and those that a [`PrearmThread`] has still to detach. Failures are logged.
    pub fn shut_down(&self) {
        let counted = self.count_last();
        let mut vm = self.lock();
        if vm.session.is_some() {
            vm.end_session(counted.as_ref());
        }
        vm.end_trapped();
        let all: Vec<_> = vm.devices.iter().map(|(id, _)| *id).collect();
        for id in all {
            vm.set_cut_off(id, false);
        }
        vm.sweep();
        let failed = vm.lines.disarm();
        vm.log_irqfds(&failed);
    }

    /// The end of the guest's session by a reset of the whole VM (X3): everything is given back as by
    /// [`shut_down`](Self::shut_down), trapped registers are as after power-on, and each vCPU's last status is
    /// [`Status::PENDING`]. The next guest is served by the same devices. Its epoch is higher, and no handle of before
    /// names an IRTE.
    ///
    /// No vCPU runs. The functions of the devices are reset afterwards
    /// ([`PciFunction::reset`](crate::function::PciFunction::reset)).
    pub fn reset(&self) {
        self.shut_down();
        self.last.iter().for_each(|last| last.store(Status::PENDING.0, Ordering::Relaxed));
    }

    /// A description of each message of every IRTE that the guest holds now.
    #[must_use]
    pub fn irtes(&self) -> Vec<IrteInfo> {
        self.lock().infos()
    }

    /// The counts of calls and log lines so far.
    #[must_use]
    pub fn statistics(&self) -> ServiceStatistics {
        let bounded = self.lock().log.asked();
        self.statistics.snapshot(bounded)
    }

    /// Locks the state of the VM, also after a panic under the lock. No function panics half-way through a change, so
    /// the state is consistent, and refusing every later call would be a worse answer to a bug than going on.
    fn lock(&self) -> MutexGuard<'_, Vm> {
        self.vm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state before the thread that arms lines ahead.
    fn lock_first(&self) -> MutexGuard<'_, Vm> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let vm = self.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        vm
    }
}

/// Whether every byte of a reserved field is zero.
fn is_zero(field: &(impl IntoBytes + zerocopy::Immutable)) -> bool {
    field.as_bytes().iter().all(|byte| *byte == 0)
}
