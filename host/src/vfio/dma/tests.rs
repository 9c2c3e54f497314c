#![expect(unsafe_code, reason = "a stand-in for VFIO's operations, one of which is unsafe")]
//! The table, on a stand-in for the kernel's type 1 IOMMU.

use super::*;
use crate::counters::Counters;
use std::any::Any;
use std::sync::{Arc, Mutex};
use vfio_ioctls::{VfioError, VfioOps};
use vm_memory::{GuestAddress, GuestRegionMmap};

/// Type 1 IOMMU as the kernel has it: mappings do not overlap, and go as a whole.
#[derive(Default)]
struct Iommu {
    mapped: Mutex<BTreeMap<u64, usize>>,
    /// Start of the region that cannot be mapped or unmapped, and with which errno.
    fails: Mutex<Option<(u64, i32)>>,
}

impl Iommu {
    fn fail(&self, start: u64) -> Result<(), vmm_sys_util::errno::Error> {
        match *self.fails.lock().unwrap() {
            Some((at, errno)) if at == start => Err(vmm_sys_util::errno::Error::new(errno)),
            _ => Ok(()),
        }
    }
    fn mapped(&self) -> Vec<u64> {
        self.mapped.lock().unwrap().keys().copied().collect()
    }
}

impl VfioOps for Iommu {
    unsafe fn vfio_dma_map(&self, iova: u64, size: usize, _: *mut u8) -> vfio_ioctls::Result<()> {
        self.fail(iova).map_err(VfioError::IommuDmaMap)?;
        match self.mapped.lock().unwrap().insert(iova, size) {
            None => Ok(()),
            Some(_) => Err(VfioError::IommuDmaMap(vmm_sys_util::errno::Error::new(libc::EEXIST))),
        }
    }
    fn vfio_dma_unmap(&self, iova: u64, size: usize) -> vfio_ioctls::Result<()> {
        self.fail(iova).map_err(VfioError::IommuDmaUnmap)?;
        match self.mapped.lock().unwrap().remove(&iova) {
            Some(len) if len == size => Ok(()),
            _ => Err(VfioError::InvalidDmaUnmapSize),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Lab {
    iommu: Iommu,
    way: VfioWay,
    counters: Counters,
    table: DmaTable,
}

impl Lab {
    /// A container with a region of 0x2000 bytes at each of `starts`.
    fn new(starts: &[u64]) -> Self {
        let table = starts.iter().map(|start| region(*start)).collect();
        Self { iommu: Iommu::default(), way: VfioWay::Group, counters: Counters::new(), table }
    }
    /// An IOAS in its place.
    fn with_ioas(starts: &[u64]) -> Self {
        Self { way: VfioWay::Cdev, ..Self::new(starts) }
    }
    fn with<R>(&mut self, act: impl FnOnce(&mut DmaTable, &DmaDomain<'_>) -> R) -> R {
        act(&mut self.table, &DmaDomain { ops: &self.iommu, way: self.way, counters: &self.counters })
    }
    fn attach(&mut self) -> Result<(), DmaError> {
        self.with(DmaTable::attach)
    }
    fn add(&mut self, start: u64) -> Result<(), DmaError> {
        self.with(|table, domain| table.add(domain, region(start)))
    }
    fn remove(&mut self, start: u64, len: u64) -> Result<(), DmaError> {
        self.with(|table, domain| table.remove(domain, GuestPhysAddr(start), len))
    }
    /// The last device goes, and the kernel's mappings with it.
    fn detach(&mut self) {
        self.table.detach(self.way);
        if self.way == VfioWay::Group {
            self.iommu.mapped.lock().unwrap().clear();
        }
    }
}

fn region(start: u64) -> GuestRegion {
    GuestRegion::new(&GuestRegionMmap::<()>::from_range(GuestAddress(start), 0x2000, None).unwrap())
}

fn errno_of(result: Result<(), DmaError>) -> Option<i32> {
    result.unwrap_err().source.raw_os_error()
}

#[test]
fn ram_is_mapped_for_the_first_device_and_for_the_first_after_none() {
    let mut lab = Lab::new(&[0, 0x8000]);
    assert_eq!(lab.iommu.mapped(), [0; 0]);
    lab.attach().unwrap();
    lab.attach().unwrap();
    assert_eq!(lab.iommu.mapped(), [0, 0x8000]);
    lab.table.detach(VfioWay::Group);
    lab.detach();
    lab.attach().unwrap();
    assert_eq!(lab.iommu.mapped(), [0, 0x8000]);
}

#[test]
fn ram_that_comes_and_goes_while_a_device_runs() {
    let mut lab = Lab::new(&[0]);
    lab.attach().unwrap();
    lab.add(0x8000).unwrap();
    assert_eq!(lab.iommu.mapped(), [0, 0x8000]);
    lab.remove(0, 0x2000).unwrap();
    assert_eq!(lab.iommu.mapped(), [0x8000]);
    assert_eq!(errno_of(lab.remove(0, 0x2000)), Some(libc::ENOENT));
    assert_eq!(errno_of(lab.remove(0x8000, 0x1000)), Some(libc::ENOENT));
    assert_eq!(errno_of(lab.add(0x9000)), Some(libc::EEXIST));
    lab.detach();
    lab.add(0).unwrap();
    assert_eq!(lab.iommu.mapped(), [0; 0], "no device, no IOMMU");
}

#[test]
fn a_removed_region_is_let_go_and_a_kept_one_is_not() {
    let memory = Arc::new(GuestRegionMmap::<()>::from_range(GuestAddress(0), 0x2000, None).unwrap());
    let backing = memory.get_mmap();
    let mut lab = Lab::new(&[]);
    lab.attach().unwrap();
    lab.with(|table, domain| table.add(domain, GuestRegion::new(&memory))).unwrap();
    *lab.iommu.fails.lock().unwrap() = Some((0, libc::EBUSY));
    let before = Arc::strong_count(&backing);
    assert_eq!(errno_of(lab.remove(0, 0x2000)), Some(libc::EBUSY));
    assert_eq!(Arc::strong_count(&backing), before, "a device may still write to it");
    *lab.iommu.fails.lock().unwrap() = None;
    lab.remove(0, 0x2000).unwrap();
    assert_eq!(Arc::strong_count(&backing), before - 1);
}

#[test]
fn a_region_that_cannot_be_mapped_is_named_and_nothing_stays() {
    let mut lab = Lab::new(&[0, 0x8000, 0x10000]);
    *lab.iommu.fails.lock().unwrap() = Some((0x10000, libc::ENOMEM));
    let error = lab.attach().unwrap_err();
    assert_eq!(
        error.to_string(),
        "VFIO_IOMMU_MAP_DMA of guest RAM at 0x10000 (0x2000 bytes); help: raise the locked-memory limit \
         (`ulimit -l`)"
    );
    assert_eq!(error.source.raw_os_error(), Some(libc::ENOMEM));
    assert_eq!(lab.iommu.mapped(), [0; 0]);
    *lab.iommu.fails.lock().unwrap() = None;
    lab.attach().unwrap();
    assert_eq!(lab.iommu.mapped(), [0, 0x8000, 0x10000]);
    *lab.iommu.fails.lock().unwrap() = Some((0x20000, libc::ENOMEM));
    assert_eq!(errno_of(lab.add(0x20000)), Some(libc::ENOMEM));
    assert_eq!(errno_of(lab.remove(0x20000, 0x2000)), Some(libc::ENOENT));
}

#[test]
fn mappings_that_outlived_the_last_device_are_taken_over() {
    let mut lab = Lab::new(&[0, 0x8000]);
    lab.attach().unwrap();
    // Something else keeps the group in the container: the kernel's mappings stay.
    lab.table.detach(VfioWay::Group);
    lab.remove(0x8000, 0x2000).unwrap();
    assert_eq!(lab.iommu.mapped(), [0]);
    lab.attach().unwrap();
    assert_eq!(lab.iommu.mapped(), [0]);
    // Without an earlier device it is somebody else's mapping.
    let mut other = Lab::new(&[0]);
    other.iommu.mapped.lock().unwrap().insert(0, 0x2000);
    assert_eq!(errno_of(other.attach()), Some(libc::EEXIST));
}

#[test]
fn an_ioas_keeps_its_mappings_when_the_last_device_goes() {
    let mut lab = Lab::with_ioas(&[0, 0x8000]);
    lab.attach().unwrap();
    lab.detach();
    assert_eq!(lab.iommu.mapped(), [0, 0x8000]);
    // Nothing is mapped a second time, and what cannot be unmapped is told.
    lab.attach().unwrap();
    lab.detach();
    *lab.iommu.fails.lock().unwrap() = Some((0x8000, libc::EBUSY));
    let error = lab.remove(0x8000, 0x2000).unwrap_err();
    assert_eq!((error.operation, error.source.raw_os_error()), ("IOMMU_IOAS_UNMAP", Some(libc::EBUSY)));
    *lab.iommu.fails.lock().unwrap() = None;
    lab.remove(0x8000, 0x2000).unwrap();
    assert_eq!(lab.iommu.mapped(), [0]);
    lab.add(0x10000).unwrap();
    assert_eq!(lab.iommu.mapped(), [0], "until the next device");
    lab.attach().unwrap();
    assert_eq!(lab.iommu.mapped(), [0, 0x10000]);
}

#[test]
fn the_remedy_for_locked_memory_names_the_rule_that_applies() {
    let mut lab = Lab::with_ioas(&[0]);
    *lab.iommu.fails.lock().unwrap() = Some((0, libc::ENOMEM));
    let said = lab.attach().unwrap_err().to_string();
    assert!(said.starts_with("IOMMU_IOAS_MAP of guest RAM at 0x0"), "{said}");
    assert!(said.ends_with("iommufd counts all VMs of a user together"), "{said}");
}
