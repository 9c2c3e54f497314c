//! The service over nothing: a KVM and a device that do nothing at once, so that only its own work is measured.

use pvir_abi::{
    Bdf, CallFlags, Conduits, DeviceFlags, DeviceId, EnableRecord, EntryRecord, Features, GuestPhysAddr,
    Header, Operation, Pair, Status, Store, Version, X86Route, block_len,
};
use pvir_host::device::{
    Capabilities, CountPurpose, Device, HostCounts, HostInterrupt, KernelCounts, NotIsolated,
};
use pvir_host::eventfd::EventFd;
use pvir_host::kvm::{GsiRoute, IrqRouter};
use pvir_host::service::{Config, RateLimit, Service};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use zerocopy::{FromZeros, IntoBytes};

/// Most entries of a call, and of the table.
pub(crate) const PER_CALL: u32 = 512;
const ENTRIES: u32 = 2048;
const BLOCK: u64 = 0x1000;

struct Router;

impl IrqRouter for Router {
    fn set_routes(&mut self, _: &[GsiRoute]) -> io::Result<()> {
        Ok(())
    }
    fn attach(&mut self, _: &EventFd, _: u32) -> io::Result<()> {
        Ok(())
    }
    fn detach(&mut self, _: &EventFd, _: u32) -> io::Result<()> {
        Ok(())
    }
}

struct Table;

/// What the host counts for each entry. The kernel's part, which is to read them, is not here.
struct Counts;

impl HostCounts for Counts {
    fn read(&self, _: &KernelCounts, _: CountPurpose) -> Vec<HostInterrupt> {
        let of_entry = |index| HostInterrupt::new(Store::MSIX, index, 1).with_irq(index).with_count(Some(1));
        (0..ENTRIES).map(of_entry).collect()
    }
}

impl Device for Table {
    fn releases_eventfds(&self) -> bool {
        true
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_msix(ENTRIES).with_flags(DeviceFlags::DIRECT | DeviceFlags::DYNAMIC)
    }
    fn name(&self) -> String {
        "bare".into()
    }
    fn isolated(&self) -> Result<(), NotIsolated> {
        Ok(())
    }
    fn open(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn trap(&mut self, _: Store) -> io::Result<()> {
        Ok(())
    }
    fn untrap(&mut self, _: Store) -> io::Result<()> {
        Ok(())
    }
    fn start(&mut self, _: Store, _: u32, _: &[&EventFd]) -> io::Result<()> {
        Ok(())
    }
    fn stop(&mut self, _: Store, _: u32, _: u32) -> io::Result<()> {
        Ok(())
    }
    fn pair(&mut self, _: Store, index: u32) -> io::Result<Pair> {
        Ok(Pair { address: 0xfee0_0010 | u64::from(index) << 5, data: 0 })
    }
    fn mask(&mut self, _: Store, _: u32) -> io::Result<bool> {
        Ok(true)
    }
    fn host_counts(&self) -> Option<Arc<dyn HostCounts>> {
        Some(Arc::new(Counts))
    }
}

/// An enabled service of a VM with 64 vCPUs and one device of 2048 entries.
pub(crate) struct Bare {
    pub(crate) service: Service,
    ram: Arc<GuestMemoryMmap>,
}

impl Bare {
    pub(crate) fn new() -> Self {
        Self::with_ahead(0)
    }

    /// With so many irqfds that [`Bare::arm`] arms.
    pub(crate) fn with_ahead(armed_ahead: u32) -> Self {
        // What the limit costs is counted, and nothing is refused.
        let unreached = RateLimit::default().with_burst(Duration::from_secs(1 << 32));
        let config = Config::new((0..64).collect(), Conduits::PORT)
            .with_armed_ahead(armed_ahead)
            .with_rate_limit(unreached);
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap());
        let service = Service::new(&config, ram.clone(), Box::new(Router)).unwrap();
        service.add_device(device(), Box::new(Table)).unwrap();
        let bare = Self { service, ram };
        let header = Header::request(Version::V1, Operation::ENABLE, CallFlags::empty(), 1);
        let record = EnableRecord::request(Features::MSIX | Features::PARKING, None);
        bare.put(&header, record.as_bytes());
        assert_eq!(bare.call(), Status::OK);
        bare
    }

    fn put(&self, header: &Header, records: &[u8]) {
        self.ram.write_slice(header.as_bytes(), GuestAddress(BLOCK)).unwrap();
        self.ram.write_slice(records, GuestAddress(BLOCK + 64)).unwrap();
    }

    /// Puts a request into RAM. The answer to one is the request of the next: only the operation and a few fields
    /// change.
    pub(crate) fn ask(&self, operation: Operation, records: &[EntryRecord]) {
        let count = u32::try_from(records.len()).unwrap();
        let header = Header::request(Version::V1, operation, CallFlags::empty(), count);
        self.put(&header, records.as_bytes());
    }

    /// Arms what is wanted ahead.
    pub(crate) fn arm(&self) {
        self.service.arm_ahead();
    }

    /// Has the service carry out the request that was put.
    pub(crate) fn call(&self) -> Status {
        self.service.call(0, 0, GuestPhysAddr(BLOCK))
    }

    /// The records of the answer.
    pub(crate) fn answer(&self, count: usize) -> Vec<EntryRecord> {
        let mut bytes = vec![0; block_len(u32::try_from(count).unwrap())];
        self.ram.read_slice(&mut bytes, GuestAddress(BLOCK)).unwrap();
        let mut records = vec![EntryRecord::new_zeroed(); count];
        records.as_mut_bytes().copy_from_slice(&bytes[64..]);
        assert!(records.iter().all(|record| record.status == Status::OK), "{:?}", records[0]);
        records
    }

    /// Maps `count` entries in as few calls as possible. Answers with their records.
    pub(crate) fn map(&self, count: u32) -> Vec<EntryRecord> {
        let entries: Vec<u32> = (0..count).collect();
        let mut mapped = Vec::new();
        for part in entries.chunks(PER_CALL as usize) {
            let records: Vec<EntryRecord> = part.iter().map(|&index| map(index)).collect();
            self.ask(Operation::MAP, &records);
            assert_eq!(self.call(), Status::OK);
            mapped.extend(self.answer(records.len()));
        }
        mapped
    }
}

fn device() -> DeviceId {
    DeviceId::new(0, Bdf::new(0, 1, 0).unwrap())
}

/// The request to map an entry.
pub(crate) fn map(index: u32) -> EntryRecord {
    EntryRecord::map(device(), Store::MSIX, index, X86Route::fixed(index % 64, 0x40).into())
}

/// The request to send a mapped entry to another vCPU.
pub(crate) fn retarget(mapped: &EntryRecord) -> EntryRecord {
    let to = X86Route::fixed((mapped.index + 1) % 64, 0x41);
    EntryRecord::map(device(), Store::MSIX, mapped.index, to.into()).with_handle(mapped.handle)
}

/// The request to give a mapped entry back.
pub(crate) fn unmap(mapped: &EntryRecord) -> EntryRecord {
    EntryRecord::query(device(), Store::MSIX, mapped.index).with_handle(mapped.handle)
}
