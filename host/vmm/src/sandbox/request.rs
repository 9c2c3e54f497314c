//! The numbers of ioctls, from linux/kvm.h, linux/vfio.h, linux/iommufd.h and asm-generic/ioctls.h (Linux 6.12), put together as
//! asm-generic/ioctl.h does: direction, size of the argument, type, number.

use kvm_bindings as kvm;

/// The request of an `ioctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request(pub(super) u32);

const WRITE: u32 = 1 << 30;
const READ: u32 = 2 << 30;
const KVMIO: u32 = 0xae << 8;
const VFIO: u32 = 0x3b << 8;
const VFIO_BASE: u32 = 100;

const fn sized<T>(direction: u32, group: u32, number: u32) -> Request {
    let size = size_of::<T>();
    // The field has 14 bits.
    assert!(size < 1 << 14, "the argument of an ioctl is too large");
    #[expect(clippy::cast_possible_truncation, reason = "compared above")]
    let size = (size as u32) << 16;
    Request(direction | size | group | number)
}

const fn kvm(number: u32) -> Request {
    Request(KVMIO | number)
}

const fn vfio(number: u32) -> Request {
    Request(VFIO | (VFIO_BASE + number))
}

pub(super) const KVM_RUN: Request = kvm(0x80);
pub(super) const KVM_CHECK_EXTENSION: Request = kvm(0x03);
pub(super) const KVM_SET_USER_MEMORY_REGION: Request =
    sized::<kvm::kvm_userspace_memory_region>(WRITE, KVMIO, 0x46);
pub(super) const KVM_SET_GSI_ROUTING: Request = sized::<kvm::kvm_irq_routing>(WRITE, KVMIO, 0x6a);
pub(super) const KVM_IRQFD: Request = sized::<kvm::kvm_irqfd>(WRITE, KVMIO, 0x76);
pub(super) const KVM_SIGNAL_MSI: Request = sized::<kvm::kvm_msi>(WRITE, KVMIO, 0xa5);
pub(super) const KVM_GET_REGS: Request = sized::<kvm::kvm_regs>(READ, KVMIO, 0x81);
pub(super) const KVM_GET_SREGS: Request = sized::<kvm::kvm_sregs>(READ, KVMIO, 0x83);
pub(super) const KVM_TRANSLATE: Request = sized::<kvm::kvm_translation>(READ | WRITE, KVMIO, 0x85);
pub(super) const KVM_SET_REGS: Request = sized::<kvm::kvm_regs>(WRITE, KVMIO, 0x82);
pub(super) const KVM_SET_SREGS: Request = sized::<kvm::kvm_sregs>(WRITE, KVMIO, 0x84);
pub(super) const KVM_SET_MSRS: Request = sized::<kvm::kvm_msrs>(WRITE, KVMIO, 0x89);
pub(super) const KVM_SET_LAPIC: Request = sized::<kvm::kvm_lapic_state>(WRITE, KVMIO, 0x8f);
pub(super) const KVM_GET_MP_STATE: Request = sized::<kvm::kvm_mp_state>(READ, KVMIO, 0x98);
pub(super) const KVM_SET_MP_STATE: Request = sized::<kvm::kvm_mp_state>(WRITE, KVMIO, 0x99);
pub(super) const KVM_SET_VCPU_EVENTS: Request = sized::<kvm::kvm_vcpu_events>(WRITE, KVMIO, 0xa0);
pub(super) const KVM_SET_DEBUGREGS: Request = sized::<kvm::kvm_debugregs>(WRITE, KVMIO, 0xa2);
pub(super) const KVM_SET_XSAVE: Request = sized::<kvm::kvm_xsave>(WRITE, KVMIO, 0xa5);
pub(super) const KVM_SET_XCRS: Request = sized::<kvm::kvm_xcrs>(WRITE, KVMIO, 0xa7);
pub(super) const KVM_GET_MSR_INDEX_LIST: Request = sized::<kvm::kvm_msr_list>(READ | WRITE, KVMIO, 0x02);
pub(super) const KVM_GET_CLOCK: Request = sized::<kvm::kvm_clock_data>(READ, KVMIO, 0x7c);
pub(super) const KVM_GET_MSRS: Request = sized::<kvm::kvm_msrs>(READ | WRITE, KVMIO, 0x88);
pub(super) const KVM_GET_LAPIC: Request = sized::<kvm::kvm_lapic_state>(READ, KVMIO, 0x8e);
pub(super) const KVM_GET_VCPU_EVENTS: Request = sized::<kvm::kvm_vcpu_events>(READ, KVMIO, 0x9f);
pub(super) const KVM_GET_DEBUGREGS: Request = sized::<kvm::kvm_debugregs>(READ, KVMIO, 0xa1);
pub(super) const KVM_GET_TSC_KHZ: Request = kvm(0xa3);
pub(super) const KVM_GET_XSAVE: Request = sized::<kvm::kvm_xsave>(READ, KVMIO, 0xa4);
pub(super) const KVM_GET_XCRS: Request = sized::<kvm::kvm_xcrs>(READ, KVMIO, 0xa6);
pub(super) const KVM_SET_DEVICE_ATTR: Request = sized::<kvm::kvm_device_attr>(WRITE, KVMIO, 0xe1);

/// The size of `struct kvm_create_device`.
pub(super) const KVM_CREATE_DEVICE: Request = sized::<kvm::kvm_create_device>(READ | WRITE, KVMIO, 0xe0);
pub(super) const VFIO_GET_API_VERSION: Request = vfio(0);
pub(super) const VFIO_SET_IOMMU: Request = vfio(2);
pub(super) const VFIO_GROUP_GET_STATUS: Request = vfio(3);
pub(super) const VFIO_GROUP_SET_CONTAINER: Request = vfio(4);
pub(super) const VFIO_GROUP_UNSET_CONTAINER: Request = vfio(5);
pub(super) const VFIO_GROUP_GET_DEVICE_FD: Request = vfio(6);
pub(super) const VFIO_DEVICE_GET_INFO: Request = vfio(7);
pub(super) const VFIO_DEVICE_GET_REGION_INFO: Request = vfio(8);
pub(super) const VFIO_IOMMU_MAP_DMA: Request = vfio(13);
pub(super) const VFIO_DEVICE_BIND_IOMMUFD: Request = vfio(18);
pub(super) const VFIO_DEVICE_ATTACH_IOMMUFD_PT: Request = vfio(19);
pub(super) const VFIO_DEVICE_GET_IRQ_INFO: Request = vfio(9);
pub(super) const VFIO_DEVICE_SET_IRQS: Request = vfio(10);
pub(super) const VFIO_DEVICE_RESET: Request = vfio(11);
pub(super) const VFIO_DEVICE_FEATURE: Request = vfio(17);
pub(super) const VFIO_IOMMU_UNMAP_DMA: Request = vfio(14);

/// linux/iommufd.h; its type is VFIO's.
pub(super) const IOMMU_DESTROY: Request = Request(VFIO | 0x80);
pub(super) const IOMMU_IOAS_ALLOC: Request = Request(VFIO | 0x81);
pub(super) const IOMMU_IOAS_MAP: Request = Request(VFIO | 0x85);
pub(super) const IOMMU_IOAS_UNMAP: Request = Request(VFIO | 0x86);

pub(super) const TCGETS: Request = Request(0x5401);
pub(super) const TCSETS: Request = Request(0x5402);
pub(super) const TIOCGPGRP: Request = Request(0x540f);
pub(super) const FIONBIO: Request = Request(0x5421);
pub(super) const TCGETS2: Request = sized::<Termios2>(READ, 0x54 << 8, 0x2a);
pub(super) const TCSETS2: Request = sized::<Termios2>(WRITE, 0x54 << 8, 0x2b);

/// `struct termios2` of asm-generic/termbits.h, for its size.
#[repr(C)]
struct Termios2 {
    flags: [u32; 4],
    line: u8,
    characters: [u8; 19],
    speeds: [u32; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_headers() {
        // What a C program prints that includes the headers.
        let known = [
            (KVM_RUN, 0xae80),
            (KVM_SET_USER_MEMORY_REGION, 0x4020_ae46),
            (KVM_SET_GSI_ROUTING, 0x4008_ae6a),
            (KVM_IRQFD, 0x4020_ae76),
            (KVM_SIGNAL_MSI, 0x4020_aea5),
            (KVM_GET_REGS, 0x8090_ae81),
            (KVM_GET_SREGS, 0x8138_ae83),
            (KVM_TRANSLATE, 0xc018_ae85),
            (KVM_SET_XSAVE, 0x5000_aea5),
            (KVM_GET_MSRS, 0xc008_ae88),
            (KVM_GET_CLOCK, 0x8030_ae7c),
            (KVM_GET_XSAVE, 0x9000_aea4),
            (KVM_SET_LAPIC, 0x4400_ae8f),
            (KVM_SET_MSRS, 0x4008_ae89),
            (KVM_SET_SREGS, 0x4138_ae84),
            (KVM_SET_VCPU_EVENTS, 0x4040_aea0),
            (KVM_SET_DEVICE_ATTR, 0x4018_aee1),
            (VFIO_DEVICE_SET_IRQS, 0x3b6e),
            (VFIO_DEVICE_RESET, 0x3b6f),
            (KVM_CREATE_DEVICE, 0xc00c_aee0),
            (VFIO_GROUP_SET_CONTAINER, 0x3b68),
            (VFIO_IOMMU_MAP_DMA, 0x3b71),
            (VFIO_DEVICE_BIND_IOMMUFD, 0x3b76),
            (IOMMU_DESTROY, 0x3b80),
            (IOMMU_IOAS_MAP, 0x3b85),
            (TCGETS2, 0x802c_542a),
            (TCSETS2, 0x402c_542b),
        ];
        for (request, number) in known {
            assert_eq!(request.0, number, "{request:x?}");
        }
    }
}
