#![expect(unsafe_code, reason = "ioctls of a VM whose file descriptor comes from any crate")]
//! A VM by its file descriptor, and the ioctls that this crate issues on it.
//!
//! The VMM may have made the VM with any version of `kvm-ioctls`, or with none.

use kvm_bindings::{
    KVM_IRQFD_FLAG_DEASSIGN, KVMIO, KvmIrqRouting, kvm_enable_cap, kvm_irq_routing, kvm_irqfd, kvm_msi,
    kvm_msr_filter, kvm_msr_filter_range, kvm_xen_hvm_config,
};
use kvm_ioctls::VmFd;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use vmm_sys_util::ioctl::{ioctl_with_ref, ioctl_with_val};
use vmm_sys_util::{ioctl_io_nr, ioctl_iow_nr};

ioctl_io_nr!(KVM_CHECK_EXTENSION, KVMIO, 0x03);
ioctl_iow_nr!(KVM_SET_GSI_ROUTING, KVMIO, 0x6a, kvm_irq_routing);
ioctl_iow_nr!(KVM_IRQFD, KVMIO, 0x76, kvm_irqfd);
ioctl_iow_nr!(KVM_XEN_HVM_CONFIG, KVMIO, 0x7a, kvm_xen_hvm_config);
ioctl_iow_nr!(KVM_ENABLE_CAP, KVMIO, 0xa3, kvm_enable_cap);
ioctl_iow_nr!(KVM_SIGNAL_MSI, KVMIO, 0xa5, kvm_msi);
ioctl_iow_nr!(KVM_X86_SET_MSR_FILTER, KVMIO, 0xc6, kvm_msr_filter);

/// The file descriptor of a VM (what `KVM_CREATE_VM` answers with). A clone shares the descriptor.
///
/// It keeps the VM alive, as every descriptor of it does.
#[derive(Clone, Debug)]
pub struct VmDescriptor(Arc<OwnedFd>);

impl VmDescriptor {
    /// Another descriptor of the VM `vm`, which the VMM made with this crate's version of [`kvm_ioctls`]. A VMM that has
    /// another version, or none, converts an [`OwnedFd`] or uses [`duplicate`](Self::duplicate).
    ///
    /// # Errors
    /// The errno of `fcntl` with `F_DUPFD_CLOEXEC`, for example `EMFILE`.
    pub fn of(vm: &VmFd) -> io::Result<Self> {
        // SAFETY: `vm` owns the descriptor, and is borrowed for as long as the result of this call lives.
        Self::duplicate(unsafe { BorrowedFd::borrow_raw(vm.as_raw_fd()) })
    }

    /// Another descriptor of the VM that `vm` is a descriptor of.
    ///
    /// # Errors
    /// The errno of `fcntl` with `F_DUPFD_CLOEXEC`, for example `EMFILE`.
    pub fn duplicate(vm: BorrowedFd<'_>) -> io::Result<Self> {
        vm.try_clone_to_owned().map(Self::from)
    }

    /// What `KVM_CHECK_EXTENSION` answers for the capability `cap` (KVM API, section 4.4); 0 if there is none.
    pub(crate) fn check_extension(&self, cap: u32) -> u32 {
        // SAFETY: the argument is a plain number, and a descriptor that is no VM's answers with an error.
        let answer = unsafe { ioctl_with_val(&*self.0, KVM_CHECK_EXTENSION(), cap.into()) };
        u32::try_from(answer).unwrap_or(0)
    }

    /// `KVM_ENABLE_CAP` (KVM API, section 4.37).
    pub(crate) fn enable_cap(&self, cap: u32, args: [u64; 4]) -> io::Result<()> {
        let cap = kvm_enable_cap { cap, args, ..Default::default() };
        // SAFETY: the ioctl only reads a `kvm_enable_cap`, which lives across the call.
        answer(unsafe { ioctl_with_ref(&*self.0, KVM_ENABLE_CAP(), &cap) })
    }

    /// `KVM_SET_GSI_ROUTING` (KVM API, section 4.52).
    pub(super) fn set_gsi_routing(&self, table: &KvmIrqRouting) -> io::Result<()> {
        // SAFETY: the ioctl only reads the table, which lives across the call; the wrapper keeps `nr` the number of
        // entries that it has.
        answer(unsafe { ioctl_with_ref(&*self.0, KVM_SET_GSI_ROUTING(), table.as_fam_struct_ref()) })
    }

    /// `KVM_IRQFD` (KVM API, section 4.75): attaches `eventfd` to `gsi`.
    pub(super) fn attach(&self, eventfd: BorrowedFd<'_>, gsi: u32) -> io::Result<()> {
        self.irqfd(eventfd, gsi, 0)
    }

    /// `KVM_IRQFD` with `KVM_IRQFD_FLAG_DEASSIGN`: detaches `eventfd` from `gsi`.
    pub(super) fn detach(&self, eventfd: BorrowedFd<'_>, gsi: u32) -> io::Result<()> {
        self.irqfd(eventfd, gsi, KVM_IRQFD_FLAG_DEASSIGN)
    }

    fn irqfd(&self, eventfd: BorrowedFd<'_>, gsi: u32, flags: u32) -> io::Result<()> {
        // A descriptor that is open is not negative.
        let fd = eventfd.as_raw_fd().unsigned_abs();
        let irqfd = kvm_irqfd { fd, gsi, flags, ..Default::default() };
        // SAFETY: the ioctl only reads a `kvm_irqfd`, which lives across the call.
        answer(unsafe { ioctl_with_ref(&*self.0, KVM_IRQFD(), &irqfd) })
    }

    /// `KVM_SIGNAL_MSI` (KVM API, section 4.71). A guest that has switched its local APIC off by software gets nothing,
    /// which is no error.
    pub(super) fn signal_msi(&self, address_lo: u32, address_hi: u32, data: u32) -> io::Result<()> {
        let msi = kvm_msi { address_lo, address_hi, data, ..Default::default() };
        // SAFETY: the ioctl only reads a `kvm_msi`, which lives across the call.
        answer(unsafe { ioctl_with_ref(&*self.0, KVM_SIGNAL_MSI(), &msi) })
    }

    /// `KVM_XEN_HVM_CONFIG` (KVM API, section 4.28) without hypercall pages.
    pub(crate) fn set_xen_config(&self, flags: u32, msr: u32) -> io::Result<()> {
        let config = kvm_xen_hvm_config { flags, msr, ..Default::default() };
        // SAFETY: the ioctl only reads a `kvm_xen_hvm_config`, which lives across the call; it names no other memory.
        answer(unsafe { ioctl_with_ref(&*self.0, KVM_XEN_HVM_CONFIG(), &config) })
    }

    /// `KVM_X86_SET_MSR_FILTER` (KVM API, section 4.97): the accesses that `flags` names, to the MSR `index`, leave the
    /// guest; all others are let through. Replaces the VM's filter.
    pub(crate) fn deny_msr(&self, flags: u32, index: u32) -> io::Result<()> {
        let mut denied = 0_u8;
        let mut filter = kvm_msr_filter::default();
        filter.ranges[0] = kvm_msr_filter_range { flags, nmsrs: 1, base: index, bitmap: &raw mut denied };
        // SAFETY: the ioctl only reads the filter and its one bitmap, which has a bit for the one MSR; both live across
        // the call.
        answer(unsafe { ioctl_with_ref(&*self.0, KVM_X86_SET_MSR_FILTER(), &filter) })
    }
}

impl From<OwnedFd> for VmDescriptor {
    fn from(vm: OwnedFd) -> Self {
        Self(Arc::new(vm))
    }
}

impl AsFd for VmDescriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn answer(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
