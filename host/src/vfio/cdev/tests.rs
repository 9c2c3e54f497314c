//! The steps, and what is left of them, on a stand-in for the kernel.

use super::bound::{BoundDevice, Failed, Step};
use super::calls::CdevCalls;
use super::fake::{FakeKernel, Group};
use super::refusal;
use crate::isolation::{Host, IsolationError};
use crate::vfio::AttachError;
use pvir_abi::{Bdf, DeviceId, Refusal};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NODE: &str = "/dev/vfio/devices/vfio0";
const OTHER: &str = "/dev/vfio/devices/vfio1";

/// A kernel with a group of two devices that is free.
fn kernel() -> FakeKernel {
    let nodes = vec![PathBuf::from(NODE), PathBuf::from(OTHER)];
    FakeKernel::new(vec![Group { nodes, remaps: true, ..Group::default() }])
}

fn open(kernel: &FakeKernel, node: &str) -> Result<BoundDevice<FakeKernel>, Failed> {
    BoundDevice::open(&Arc::new(kernel.clone()), Path::new(node))
}

fn failed(kernel: &FakeKernel, node: &str) -> (Step, i32) {
    let failed = open(kernel, node).err().unwrap();
    (failed.step, failed.source.raw_os_error().unwrap())
}

#[test]
fn the_steps_are_in_their_order_and_undone_when_the_device_goes() {
    let kernel = kernel();
    let device = open(&kernel, NODE).unwrap();
    assert_eq!(kernel.take_calls(), ["open", "bind", "tell KVM", "attach"]);
    drop(device);
    assert_eq!(kernel.take_calls(), ["untell KVM"]);
    assert!(kernel.is_idle());
}

#[test]
fn a_step_that_fails_leaves_nothing_with_kvm_or_open() {
    for (call, step, errno) in [
        ("open", Step::Open, libc::EACCES),
        ("tell KVM", Step::TellKvm, libc::EBADF),
        ("bind", Step::Bind, libc::EPERM),
        ("attach", Step::Attach, libc::ENOMEM),
    ] {
        let kernel = kernel();
        kernel.fail(call, errno);
        assert_eq!(failed(&kernel, NODE), (step, errno));
        assert!(kernel.is_idle(), "{call}");
    }
}

#[test]
fn a_duplicate_keeps_the_device_bound_and_kvm_lets_it_go_at_once() {
    let kernel = kernel();
    let device = open(&kernel, NODE).unwrap();
    let duplicate = device.file().duplicate();
    drop(device);
    assert!(!kernel.is_idle());
    assert_eq!(failed(&kernel, NODE), (Step::Bind, libc::EINVAL));
    drop(duplicate);
    assert!(kernel.is_idle());
    open(&kernel, NODE).unwrap();
}

#[test]
fn without_kvm_there_is_nobody_to_tell() {
    let kernel = kernel().without_kvm();
    drop(open(&kernel, NODE).unwrap());
    assert_eq!(kernel.take_calls(), ["open", "bind", "attach"]);
}

#[test]
fn a_group_is_in_one_iommufd_and_in_one_way() {
    let kernel = kernel();
    let (one, other) = (open(&kernel, NODE).unwrap(), open(&kernel, OTHER).unwrap());
    assert_eq!(failed(&kernel, NODE), (Step::Bind, libc::EINVAL), "bound already");
    assert_eq!(failed(&kernel.other(), NODE), (Step::Bind, libc::EINVAL), "by another program");
    drop(one);
    assert_eq!(failed(&kernel.other(), NODE), (Step::Bind, libc::EPERM), "the other one of its group is");
    assert_eq!(kernel.open_group().unwrap_err().raw_os_error(), Some(libc::EBUSY));
    drop(other);
    kernel.open_group().unwrap();
    assert_eq!(failed(&kernel, NODE), (Step::Bind, libc::EBUSY));
}

#[test]
fn a_group_that_a_driver_uses_or_that_is_not_remapped_is_not_given_away() {
    let kernel = kernel();
    kernel.group(|group| group.driver = true);
    assert_eq!(failed(&kernel, NODE), (Step::Bind, libc::EPERM));
    kernel.group(|group| (group.driver, group.remaps) = (false, false));
    assert_eq!(failed(&kernel, NODE), (Step::Bind, libc::EPERM));
    assert!(kernel.is_idle());
}

#[test]
fn interrupts_begin_before_attach_and_do_not_end_with_detach() {
    let kernel = kernel();
    let file = kernel.open(Path::new(NODE)).unwrap();
    assert!(kernel.start_interrupts(&file).is_err(), "not bound");
    assert_eq!(kernel.attach(&file).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    kernel.bind(&file).unwrap();
    kernel.tell_kvm(&file).unwrap();
    kernel.start_interrupts(&file).unwrap();
    kernel.attach(&file).unwrap();
    kernel.detach(&file);
    assert!(kernel.interrupts_run(&file));
    kernel.untell_kvm(&file).unwrap();
    drop(file);
    assert!(kernel.is_idle());
}

fn id(device: u8) -> DeviceId {
    DeviceId::new(0, Bdf::new(0, device, 0).unwrap())
}

/// A host where 5 and 6 are in group 3, and 5 is vfio-pci's.
fn host(driver_of_6: Option<&str>, interrupts: &str) -> (tempfile::TempDir, Host) {
    let root = tempfile::tempdir().unwrap();
    let host = Host::at(root.path());
    for (device, driver) in [(5, Some("vfio-pci")), (6, driver_of_6)] {
        let folder = host.device_path(id(device));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("class"), "0x020000").unwrap();
        symlink("/sys/kernel/iommu_groups/3", folder.join("iommu_group")).unwrap();
        if let Some(driver) = driver {
            symlink(format!("/sys/bus/pci/drivers/{driver}"), folder.join("driver")).unwrap();
        }
        fs::create_dir_all(host.path("sys/kernel/iommu_groups/3/devices").join(id(device).to_string()))
            .unwrap();
    }
    fs::create_dir_all(host.path("proc")).unwrap();
    fs::write(host.path("proc/interrupts"), interrupts).unwrap();
    (root, host)
}

const REMAPPED: &str = "  2: 7  IR-IO-APIC  2-edge  timer\n";

fn explain(host: &Host, step: Step, errno: i32) -> AttachError {
    let source = std::io::Error::from_raw_os_error(errno);
    refusal::explain(host, id(5), Path::new(NODE), Failed { step, source })
}

#[test]
fn the_three_reasons_of_eperm_are_told_apart() {
    let (_root, with_driver) = host(Some("e1000"), "  2: 7  IO-APIC  2-edge  timer\n");
    let error = explain(&with_driver, Step::Bind, libc::EPERM);
    assert!(
        matches!(&error, AttachError::Host(IsolationError::MemberInUse { member, driver, .. })
            if *member == id(6) && driver == "e1000"),
        "the group is looked at before anything is said of remapping: {error}"
    );
    let (_root, unmapped) = host(Some("vfio-pci"), "  2: 7  IO-APIC  2-edge  timer\n");
    let error = explain(&unmapped, Step::Bind, libc::EPERM);
    assert!(
        matches!(&error, AttachError::Host(IsolationError::NotIsolated { reason, .. })
            if reason.refusal == Refusal::NO_REMAPPING),
        "{error}"
    );
    let (_root, others) = host(Some("vfio-pci"), REMAPPED);
    let error = explain(&others, Step::Bind, libc::EPERM);
    assert!(
        error.is_in_use() && error.to_string().contains("another iommufd has one of the group"),
        "{error}"
    );
    assert!(error.to_string().contains("with 0000:00:06.0"), "{error}");
    fs::remove_dir(others.path("sys/kernel/iommu_groups/3/devices").join(id(6).to_string())).unwrap();
    let error = explain(&others, Step::Bind, libc::EPERM);
    assert!(
        matches!(error, AttachError::Host(IsolationError::NotIsolated { .. })),
        "alone in its group: {error}"
    );
}

#[test]
fn who_has_it_is_told_by_the_other_errnos() {
    let (_root, host) = host(None, REMAPPED);
    let group = explain(&host, Step::Bind, libc::EBUSY);
    assert!(group.is_in_use() && group.to_string().contains("/dev/vfio/3 open; help:"), "{group}");
    let bound = explain(&host, Step::Bind, libc::EINVAL);
    assert!(
        bound.is_in_use() && bound.to_string().contains("vfio0 is bound to an iommufd already"),
        "{bound}"
    );
    let token = explain(&host, Step::Bind, libc::EACCES);
    assert!(!token.is_in_use() && token.to_string().contains("a token for virtual functions"), "{token}");
    let open = explain(&host, Step::Open, libc::EACCES);
    assert!(open.to_string().contains("cannot open /dev/vfio/devices/vfio0; help: run as root"), "{open}");
    let locked = explain(&host, Step::Attach, libc::ENOMEM);
    assert!(locked.to_string().contains("all VMs of a user together"), "{locked}");
    let nothing = refusal::no_node(&host, id(5));
    assert!(nothing.to_string().contains("CONFIG_VFIO_DEVICE_CDEV"), "{nothing}");
}
