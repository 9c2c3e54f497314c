//! The main thread, from the first instruction of the guest on: it waits for the end, reports, and takes all down.

use super::{Files, Kind, device, vcpu};
use crate::sandbox::call::{Call, When, calls};
use crate::sandbox::{groups, request};

const OWN: &[Call] = calls![
    SYS_epoll_create1: "what ends a run is waited for",
    SYS_epoll_ctl: "the same",
    SYS_epoll_wait: "the same",
    SYS_epoll_pwait: "the same, by other versions of libc",
    SYS_recvfrom: "the pipes of signals",
    SYS_sendto: "the signal handler's end of them",
    SYS_kill (When::OwnProcess(0)): "Ctrl-Z stops the process",
    SYS_socket (When::OneOf(0, &[libc::AF_UNIX.cast_unsigned()])): "the control socket's thread is woken by a client",
    SYS_connect: "the same",
    SYS_unlink: "the control socket's file",
    SYS_ioctl (When::Requests(&[request::FIONBIO])): "the pipe of signals is handed to a thread that waits for it",
    SYS_ioctl (When::Requests(&[
        request::KVM_SET_DEVICE_ATTR,
        request::KVM_CHECK_EXTENSION,
        request::VFIO_GROUP_UNSET_CONTAINER,
        request::VFIO_IOMMU_UNMAP_DMA,
        request::IOMMU_DESTROY,
    ])): "host devices are given back",
];

/// What has devices of the host that are plugged. Their files come by the control socket: none is opened here.
const PLUGGING: &[Call] = calls![
    SYS_ioctl (When::Requests(&[
        request::KVM_CREATE_DEVICE,
        request::VFIO_GET_API_VERSION,
        request::VFIO_SET_IOMMU,
        request::VFIO_GROUP_GET_STATUS,
        request::VFIO_GROUP_SET_CONTAINER,
        request::VFIO_GROUP_GET_DEVICE_FD,
        request::VFIO_IOMMU_MAP_DMA,
    ])): "KVM's device of VFIO, which has one type on x86; a group in the VM's container, and RAM in that",
    SYS_ioctl (When::Requests(&[
        request::VFIO_DEVICE_BIND_IOMMUFD,
        request::VFIO_DEVICE_ATTACH_IOMMUFD_PT,
        request::IOMMU_IOAS_ALLOC,
        request::IOMMU_IOAS_MAP,
        request::IOMMU_IOAS_UNMAP,
    ])): "the same by the device's own file and an iommufd",
    SYS_ioctl (When::Requests(&[
        request::VFIO_DEVICE_GET_INFO,
        request::VFIO_DEVICE_GET_REGION_INFO,
    ])): "what the device is, and its BARs",
    SYS_dup: "KVM's device of VFIO, for the container (vfio-ioctls)",
    SYS_inotify_init1: "resets by the host's administrator",
    SYS_inotify_add_watch: "the same",
];

/// What saves a machine.
const SAVING: &[Call] = calls![
    SYS_ioctl (When::Requests(&[
        request::KVM_GET_MSR_INDEX_LIST,
        request::KVM_GET_MP_STATE,
        request::KVM_GET_XSAVE,
        request::KVM_GET_XCRS,
        request::KVM_GET_DEBUGREGS,
        request::KVM_GET_MSRS,
        request::KVM_GET_LAPIC,
        request::KVM_GET_VCPU_EVENTS,
        request::KVM_GET_TSC_KHZ,
        request::KVM_GET_CLOCK,
    ])): "vCPUs as they are, beside what a crash reports of them",
    SYS_ioctl (When::Requests(&[request::VFIO_DEVICE_FEATURE, request::VFIO_DEVICE_RESET])):
        "what a device of the host holds inside, and the reset of one that fails at it",
    SYS_ftruncate: "the file is as long as RAM",
    SYS_fsync: "it is on its disk when the client is told",
];

/// What resets a machine, for `--on-reboot restart`.
const RESETTING: &[Call] = calls![
    SYS_ioctl (When::Requests(&[
        request::KVM_GET_MP_STATE,
        request::KVM_SET_MP_STATE,
        request::KVM_SET_SREGS,
        request::KVM_SET_REGS,
        request::KVM_SET_XSAVE,
        request::KVM_SET_XCRS,
        request::KVM_SET_DEBUGREGS,
        request::KVM_SET_LAPIC,
        request::KVM_SET_MSRS,
        request::KVM_SET_VCPU_EVENTS,
        request::VFIO_DEVICE_RESET,
    ])): "vCPUs as they were made; devices",
];

/// The main thread. It makes the devices that are plugged. It has vCPUs finish what they were stopped in, and starts their threads again where the machine could
/// not be saved: these have its filter beside their own, so it may do what they may.
pub(crate) const MAIN: Kind = Kind {
    name: "main",
    calls: &[
        OWN,
        PLUGGING,
        SAVING,
        vcpu::OWN,
        device::MAKING,
        groups::EVERY_THREAD,
        groups::STARTING_THREADS,
        groups::SERVICE,
        groups::READING_FILES,
    ],
    files: Files::ReadSystemRemoveSocket,
    refused: &[groups::NO_CLONE3],
};

/// The main thread of a run that starts its guest again.
pub(crate) const MAIN_RESTARTING: Kind = Kind {
    name: "main, restarting",
    calls: &[
        OWN,
        PLUGGING,
        SAVING,
        RESETTING,
        vcpu::OWN,
        device::MAKING,
        groups::EVERY_THREAD,
        groups::STARTING_THREADS,
        groups::SERVICE,
        groups::READING_FILES,
    ],
    ..MAIN
};
