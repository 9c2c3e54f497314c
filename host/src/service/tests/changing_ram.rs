//! Guest RAM that is added and removed while the VM runs.

use super::*;
use crate::memory::CurrentRam;
use pvir_abi::EntryState;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use vm_memory::GuestRegionMmap;
use zerocopy::FromBytes;

/// Where RAM is added.
const ADDED: u64 = 0x20_0000;

/// The fixture's VM, whose RAM is what `current` answers with.
fn service(current: impl Fn() -> Arc<GuestMemoryMmap> + Send + Sync + 'static) -> (Service, SharedPlatform) {
    let platform = SharedPlatform::new(FIRST_GSI);
    let router = Box::new(FakeKvm::new(platform.clone()));
    let service = Service::new(&config(), Arc::new(CurrentRam::new(current)), router).unwrap();
    let fake = FakeDevice::new(platform.clone(), 0, ENTRIES[0]);
    service.add_device(device(0), Box::new(fake)).unwrap();
    (service, platform)
}

fn boot_ram() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x5_0000)]).unwrap()
}

fn more_ram() -> Arc<GuestRegionMmap> {
    Arc::new(GuestRegionMmap::from_range(GuestAddress(ADDED), 0x1000, None).unwrap())
}

/// Writes a block, calls, and answers what the conduit said.
fn call<R>(service: &Service, ram: &GuestMemoryMmap, at: u64, operation: Operation, records: &[R]) -> Status
where
    R: IntoBytes + zerocopy::Immutable,
{
    let count = u32::try_from(records.len()).unwrap();
    let header = Header::request(Version::V1, operation, CallFlags::empty(), count);
    ram.write_slice(header.as_bytes(), GuestAddress(at)).unwrap();
    ram.write_slice(records.as_bytes(), GuestAddress(at + size_of::<Header>() as u64)).unwrap();
    service.call(0, 0, GuestPhysAddr(at))
}

fn enable(service: &Service, ram: &GuestMemoryMmap) {
    let asked = [EnableRecord::request(Service::FEATURES, None)];
    assert_eq!(call(service, ram, BLOCK, Operation::ENABLE, &asked), Status::OK);
}

#[test]
fn a_block_in_ram_that_was_added_is_served_until_it_is_removed() {
    // B1
    let boot_ram = Arc::new(boot_ram());
    let memory = Arc::new(Mutex::new(Arc::clone(&boot_ram)));
    let seen = Arc::clone(&memory);
    let (service, _) = service(move || Arc::clone(&seen.lock().unwrap()));
    let larger = boot_ram.insert_region(more_ram()).unwrap();
    let asked = [DeviceRecord::request(device(0))];
    let call = || call(&service, &larger, ADDED, Operation::DEVICE_INFO, &asked);
    enable(&service, &boot_ram);
    assert_eq!(call(), Status::BAD_ADDRESS);
    *memory.lock().unwrap() = Arc::new(larger.clone());
    assert_eq!(call(), Status::OK);
    *memory.lock().unwrap() = boot_ram;
    assert_eq!(call(), Status::BAD_ADDRESS);
}

#[test]
fn a_block_that_is_removed_under_any_access_is_a_bad_address() {
    // The accesses of one MAP: header, whole block, records; then the records and the header back.
    let (accesses, left) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(usize::MAX)));
    let boot = Arc::new(boot_ram());
    let larger = Arc::new(boot.insert_region(more_ram()).unwrap());
    let (counts, limit, small, large) = (accesses.clone(), left.clone(), boot.clone(), larger.clone());
    let (service, platform) = service(move || {
        let before = counts.fetch_add(1, Ordering::Relaxed);
        if before < limit.load(Ordering::Relaxed) { large.clone() } else { small.clone() }
    });
    enable(&service, &boot);
    let mapped = |index: u32| {
        accesses.store(0, Ordering::Relaxed);
        call(&service, &larger, ADDED, Operation::MAP, &[routed(0, index, 0, 0x40)])
    };
    assert_eq!(mapped(0), Status::OK);
    let all = accesses.load(Ordering::Relaxed);
    assert!(all >= 4, "{all} accesses");
    for (index, removed_before) in (1..).zip(0..all) {
        left.store(removed_before, Ordering::Relaxed);
        assert_eq!(mapped(index), Status::BAD_ADDRESS, "removed before access {removed_before}");
    }
    left.store(usize::MAX, Ordering::Relaxed);
    // What a MAP did whose answer had no place any more is said when it is asked for again.
    let answered = |index: usize| {
        let status = mapped(u32::try_from(index).unwrap());
        let mut record = [0; size_of::<EntryRecord>()];
        larger.read_slice(&mut record, GuestAddress(ADDED + size_of::<Header>() as u64)).unwrap();
        (status, EntryRecord::read_from_bytes(&record).unwrap().state & EntryState::EXISTING.bits() != 0)
    };
    assert_eq!(answered(all), (Status::OK, true), "EXISTING");
    assert_eq!(answered(1), (Status::OK, false), "nothing was done before the records were read");
    assert_eq!(call::<EntryRecord>(&service, &larger, BLOCK, Operation::DISABLE, &[]), Status::OK);
    assert!(service.irtes().is_empty());
    assert_eq!(platform.lock().open_eventfds(), 0);
}
