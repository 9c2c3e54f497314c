//! The service through its front door: real wire bytes in real guest RAM, over a KVM and devices that know the order.

mod ahead;
mod batches;
mod blocks;
mod enabling;
mod entries;
mod faults;
mod headers;
mod ims;
mod limits;
mod live;
mod logs;
mod messages;
mod model;
mod operations;
mod order;
mod parking;
mod retire;
mod routing;
mod teardown;
mod threads;
mod trapped;
mod trapped_faults;

use super::*;
use crate::fake::{Entry as Place, FakeDevice, FakeKvm, Footprint, SharedWorld};
use pvir_abi::{
    Bdf, DeviceRecord, EnableRecord, EntryRecord, FeaturesRecord, Handle, Header, Store, X86Route,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use zerocopy::{FromBytes, FromZeros};

const FIRST_GSI: u32 = 24;
const APIC_IDS: [u32; 3] = [0, 1, 300];
/// Where calls have their block, unless a test is about just that.
const BLOCK: u64 = 0x1_0000;
const AREA: u64 = 0x2040;
/// RAM: two ranges that touch, a hole, and a third.
const RAM: [(u64, usize); 3] = [(0, 0x5_0000), (0x5_0000, 0x1_0000), (0x8_0000, 0x1_0000)];
/// Entries of the MSI-X tables of devices 0 and 1. Device 0 makes IMS of its MSI-X, as one of VFIO does.
const ENTRIES: [u32; 2] = [64, 8];
/// IMS entries that device 1 has of its own.
const IMS: u32 = 4;
/// Messages of device 2, which has MSI and nothing else.
const MESSAGES: u32 = 16;

fn device(number: u8) -> DeviceId {
    DeviceId::new(0, Bdf::new(0, number + 1, 0).unwrap())
}

fn config() -> Config {
    Config {
        apic_ids: APIC_IDS.to_vec(),
        conduits: Conduits::MSR | Conduits::PORT,
        msr: 0x5056_0000,
        port: 0x5056,
        first_gsi: FIRST_GSI,
        max_irtes: 4072,
        max_irtes_per_device: 2048,
        armed_ahead: 0,
    }
}

/// A VM with three devices.
struct Bench {
    service: Service,
    world: SharedWorld,
    ram: Arc<GuestMemoryMmap>,
}

/// What the guest finds in its block afterwards, and what the conduit said.
struct Answer<R> {
    status: Status,
    header: Header,
    records: Vec<R>,
}

/// Everything that a refused call must leave as it was.
#[derive(PartialEq, Debug)]
struct State {
    world: Footprint,
    features: FeaturesRecord,
    irtes: String,
    queries: Vec<EntryRecord>,
}

impl Bench {
    fn new() -> Self {
        Self::with(&config())
    }

    fn with(config: &Config) -> Self {
        let world = SharedWorld::new(config.first_gsi);
        let ranges = RAM.map(|(at, len)| (GuestAddress(at), len));
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
        let router = Box::new(FakeKvm::new(world.clone()));
        let service = Service::new(config, ram.clone(), router).unwrap();
        let bench = Self { service, world, ram };
        let msix =
            |number: u8| FakeDevice::new(bench.world.clone(), number.into(), ENTRIES[usize::from(number)]);
        bench.add(0, msix(0).with_backed_ims());
        bench.add(1, msix(1).with_own_ims(IMS));
        bench.add(2, FakeDevice::with_msi(bench.world.clone(), 2, MESSAGES));
        bench
    }

    fn add(&self, number: u8, fake: FakeDevice) {
        self.service.add_device(device(number), Box::new(fake)).unwrap();
    }

    /// With everything that the service offers.
    fn enabled() -> Self {
        let bench = Self::new();
        bench.enable();
        bench
    }

    /// With all of `ahead` lines armed that are wanted.
    fn armed(ahead: u32) -> Self {
        let bench = Self::with(&Config { armed_ahead: ahead, ..config() });
        bench.enable();
        bench.arm();
        bench
    }

    fn arm(&self) {
        self.world.lock().expect(None);
        self.service.arm_ahead();
        self.assert_order();
    }

    fn enable(&self) {
        let asked = EnableRecord::request(Service::FEATURES, Some(GuestPhysAddr(AREA)));
        let answer = self.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
        assert_eq!(answer.status, Status::OK);
    }

    fn disable(&self) -> Status {
        self.call::<EntryRecord>(Operation::DISABLE, CallFlags::empty(), &[]).status
    }

    /// One call with a whole and valid header.
    fn call<R>(&self, operation: Operation, flags: CallFlags, records: &[R]) -> Answer<R>
    where
        R: FromBytes + IntoBytes + zerocopy::Immutable + Clone,
    {
        let count = u32::try_from(records.len()).unwrap();
        self.send(Header::request(Version::V1, operation, flags, count), records)
    }

    /// One call with any header. Whatever comes of it, the order was kept.
    fn send<R>(&self, header: Header, records: &[R]) -> Answer<R>
    where
        R: FromBytes + IntoBytes + zerocopy::Immutable + Clone,
    {
        self.world.lock().expect(Some(header.operation));
        let answer = self.send_at(BLOCK, header, records);
        self.assert_order();
        answer
    }

    fn send_at<R>(&self, at: u64, header: Header, records: &[R]) -> Answer<R>
    where
        R: FromBytes + IntoBytes + zerocopy::Immutable + Clone,
    {
        let after = GuestAddress(at + size_of::<Header>() as u64);
        self.ram.write_slice(header.as_bytes(), GuestAddress(at)).unwrap();
        self.ram.write_slice(records.as_bytes(), after).unwrap();
        let status = self.service.call(0, 0, GuestPhysAddr(at));
        let mut answer = Answer { status, header: Header::new_zeroed(), records: records.to_vec() };
        self.ram.read_slice(answer.header.as_mut_bytes(), GuestAddress(at)).unwrap();
        self.ram.read_slice(answer.records.as_mut_slice().as_mut_bytes(), after).unwrap();
        answer
    }

    fn assert_order(&self) {
        let breaches = self.world.lock().check();
        assert!(breaches.is_empty(), "{breaches:#?}");
    }

    fn map(&self, records: &[EntryRecord]) -> Answer<EntryRecord> {
        self.call(Operation::MAP, CallFlags::empty(), records)
    }

    fn retarget(&self, records: &[EntryRecord]) -> Answer<EntryRecord> {
        self.call(Operation::RETARGET, CallFlags::empty(), records)
    }

    fn unmap(&self, records: &[EntryRecord]) -> Answer<EntryRecord> {
        self.call(Operation::UNMAP, CallFlags::empty(), records)
    }

    fn query(&self, records: &[EntryRecord]) -> Answer<EntryRecord> {
        self.call(Operation::QUERY, CallFlags::empty(), records)
    }

    fn features(&self) -> FeaturesRecord {
        self.call(Operation::FEATURES, CallFlags::empty(), &[FeaturesRecord::request()]).records[0]
    }

    fn state(&self) -> State {
        let world = self.world.lock().footprint();
        let asked: Vec<_> = (0..2u8)
            .flat_map(|number| (0..8).map(move |index| query_of(number, index)))
            .chain([msi_query()])
            .collect();
        State {
            world,
            features: self.features(),
            irtes: format!("{:?}", self.service.irtes()),
            queries: self.query(&asked).records,
        }
    }

    /// Nothing is held any more but what ENABLE gave.
    fn assert_baseline(&self) {
        let mut world = self.world.lock();
        let Footprint { routes, irqfds, started, .. } = world.footprint();
        assert!(routes.is_empty() && irqfds.is_empty() && started.is_empty(), "{:?}", world.footprint());
        assert_eq!(world.armed_ahead(), 0, "armed ahead");
        assert_eq!(world.open_eventfds(), 0, "eventfds");
        drop(world);
        assert!(self.service.irtes().is_empty());
        assert_eq!(self.free_gsis(), self.service.lock().max_irtes, "GSIs");
    }

    fn free_gsis(&self) -> u32 {
        self.service.lock().lines.free_gsis()
    }

    fn raise(&self, number: u8, index: u32) {
        self.world.lock().raise(place(number, index));
    }

    /// Device 2 sends message `index`.
    fn raise_message(&self, index: u32) {
        self.world.lock().raise(Place { device: 2, store: Store::MSI, index });
    }

    fn unmask(&self, number: u8, index: u32) {
        self.world.lock().guest_masks(place(number, index), false);
    }

    /// Destinations and vectors that were delivered since the last time.
    fn delivered(&self) -> Vec<(u32, u8)> {
        self.world.lock().take_deliveries().into_iter().map(|d| (d.destination, d.vector)).collect()
    }
}

fn place(number: u8, index: u32) -> Place {
    Place { device: number.into(), store: Store::MSIX, index }
}

/// A MAP of an MSI-X entry, fixed to one vCPU.
fn routed(number: u8, index: u32, destination: u32, vector: u8) -> EntryRecord {
    EntryRecord::map(device(number), Store::MSIX, index, X86Route::fixed(destination, vector).into())
}

fn parked(number: u8, index: u32) -> EntryRecord {
    EntryRecord::map_parked(device(number), Store::MSIX, index)
}

fn query_of(number: u8, index: u32) -> EntryRecord {
    EntryRecord::query(device(number), Store::MSIX, index)
}

/// A MAP of messages of device 2, fixed to one vCPU.
fn messages(count: u32, destination: u32, vector: u8) -> EntryRecord {
    EntryRecord {
        count,
        ..EntryRecord::map(device(2), Store::MSI, 0, X86Route::fixed(destination, vector).into())
    }
}

fn parked_messages(count: u32) -> EntryRecord {
    EntryRecord { count, ..EntryRecord::map_parked(device(2), Store::MSI, 0) }
}

fn msi_query() -> EntryRecord {
    EntryRecord::query(device(2), Store::MSI, 0)
}

/// A MAP of an IMS entry, fixed to one vCPU.
fn ims(number: u8, index: u32, destination: u32, vector: u8) -> EntryRecord {
    EntryRecord::map(device(number), Store::IMS, index, X86Route::fixed(destination, vector).into())
}

/// The RETARGET of a mapped entry.
fn moved(mapped: &EntryRecord, destination: u32, vector: u8) -> EntryRecord {
    let to = X86Route::fixed(destination, vector).into();
    let EntryRecord { device, store, index, count, .. } = *mapped;
    EntryRecord { count, ..EntryRecord::map(device, store, index, to) }.with_handle(mapped.handle)
}

/// The RETARGET that parks a mapped entry.
fn park(mapped: &EntryRecord) -> EntryRecord {
    let EntryRecord { device, store, index, count, .. } = *mapped;
    EntryRecord { count, ..EntryRecord::map_parked(device, store, index) }.with_handle(mapped.handle)
}

/// The UNMAP of a mapped entry, and its QUERY by handle.
fn named(mapped: &EntryRecord) -> EntryRecord {
    named_by_entry(mapped).with_handle(mapped.handle)
}

/// The QUERY of an entry without its handle.
fn named_by_entry(entry: &EntryRecord) -> EntryRecord {
    EntryRecord { count: entry.count, ..EntryRecord::query(entry.device, entry.store, entry.index) }
}

/// Entries `from..to` of device 0, routed over all vCPUs with vectors from 0x40 on.
fn batch(indices: std::ops::Range<u32>) -> Vec<EntryRecord> {
    let route = |index: u32| routed(0, index, APIC_IDS[index as usize % 3], 0x40 + (index % 128) as u8);
    indices.map(route).collect()
}

fn statuses(records: &[EntryRecord]) -> Vec<Status> {
    records.iter().map(|record| record.status).collect()
}
