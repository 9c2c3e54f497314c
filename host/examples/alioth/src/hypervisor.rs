//! alioth's KVM backend, wrapped: the VM's descriptor, CPUID, the vCPUs and the memory slots pass by here.

use std::arch::x86_64::CpuidResult;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use alioth::arch::cpuid::CpuidIn;
use alioth::arch::sev::{SevPolicy, SnpPageType, SnpPolicy};
use alioth::arch::tdx::TdAttr;
use alioth::hv::{Coco, Error, Hypervisor, Kvm, MemMapOption, Result, Vm, VmConfig, VmMemory};

use crate::msi::{SharedSender, UsedGsis};
use crate::pvir::Pvir;
use crate::vcpu::PvirVcpu;

/// alioth's VM on KVM. The type has no public name.
type KvmVm = <Kvm as Hypervisor>::Vm;

/// KVM as alioth's board sees it.
pub struct PvirKvm {
    pub kvm: Kvm,
    /// Number of vCPUs.
    pub cpus: u16,
}

impl Hypervisor for PvirKvm {
    type Vm = PvirVm;

    fn create_vm(&self, config: &VmConfig) -> Result<PvirVm> {
        let kvm = self.kvm.create_vm(config)?;
        let pvir = Pvir::new(kvm.vm.fd.as_fd(), self.cpus).map_err(io::Error::other);
        let pvir = pvir.map_err(|error| Error::CreateVm { error, _location: snafu::location!() })?;
        Ok(PvirVm { kvm, pvir: Arc::new(pvir), used: UsedGsis::default(), slots: None })
    }

    fn get_supported_cpuids(&self, coco: Option<&Coco>) -> Result<HashMap<CpuidIn, CpuidResult>> {
        self.kvm.get_supported_cpuids(coco)
    }
}

/// alioth's VM with the service beside it.
pub struct PvirVm {
    kvm: KvmVm,
    pub pvir: Arc<Pvir>,
    used: UsedGsis,
    /// The VM's memory slots, once the board has them.
    pub slots: Option<Slots>,
}

impl Vm for PvirVm {
    type Vcpu = PvirVcpu;
    type Memory = Slots;
    type MsiSender = SharedSender;
    type IoeventFdRegistry = <KvmVm as Vm>::IoeventFdRegistry;

    fn create_vcpu(&self, index: u16, identity: u64) -> Result<PvirVcpu> {
        let kvm = self.kvm.create_vcpu(index, identity)?;
        Ok(PvirVcpu { kvm, index: index.into(), pvir: Arc::clone(&self.pvir) })
    }

    fn create_msi_sender(&self) -> Result<SharedSender> {
        let (kvm, routing) = (self.kvm.create_msi_sender()?, self.pvir.routing.clone());
        Ok(SharedSender { kvm, routing, used: Arc::clone(&self.used) })
    }

    fn create_vm_memory(&mut self) -> Result<Slots> {
        let slots = Slots(Arc::new(self.kvm.create_vm_memory()?));
        Ok(self.slots.insert(slots).clone())
    }

    fn stop_vcpu<T>(&self, identity: u64, handle: &JoinHandle<T>) -> Result<()> {
        self.kvm.stop_vcpu(identity, handle)
    }

    delegate! { Vm by self.kvm;
        fn create_ioeventfd_registry(self) -> Self::IoeventFdRegistry;
        fn sev_launch_start(self, policy: SevPolicy) -> ();
        fn sev_launch_update_vmsa(self) -> ();
        fn sev_launch_update_data(self, range: &mut [u8]) -> ();
        fn sev_launch_measure(self) -> Vec<u8>;
        fn sev_launch_finish(self) -> ();
        fn snp_launch_start(self, policy: SnpPolicy) -> ();
        fn snp_launch_update(self, range: &mut [u8], gpa: u64, kind: SnpPageType) -> ();
        fn snp_launch_finish(self) -> ();
        fn tdx_init_vm(self, attr: TdAttr, cpuids: &HashMap<CpuidIn, CpuidResult>) -> ();
        fn tdx_finalize_vm(self) -> ();
    }
}

/// The VM's memory slots, shared by alioth's memory and the windows of pvir's devices.
#[derive(Clone, Debug)]
pub struct Slots(Arc<<KvmVm as Vm>::Memory>);

impl VmMemory for Slots {
    delegate! { VmMemory by *self.0;
        fn mem_map(self, gpa: u64, size: u64, hva: usize, option: MemMapOption) -> ();
        fn unmap(self, gpa: u64, size: u64) -> ();
        fn reset(self) -> ();
        fn register_encrypted_range(self, range: &[u8]) -> ();
        fn deregister_encrypted_range(self, range: &[u8]) -> ();
        fn mark_private_memory(self, gpa: u64, size: u64, private: bool) -> ();
    }
}
