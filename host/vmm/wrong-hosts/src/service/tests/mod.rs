//! The honest service of the library on a fake KVM and a fake device, each wrapped as the wrong host has it.

mod changed;
mod coming;
mod honest;

use std::sync::Arc;

use pvir::Hypercalls;
use pvir_abi::{
    Bdf, CallFlags, Conduits, DeviceId, EnableRecord, EntryRecord, FeaturesRecord, GuestPhysAddr, Header,
    Operation, Status, Store, Version, X86Route,
};
use pvir_host::fake::{FakeDevice, FakeKvm, SharedPlatform};
use pvir_host::memory::GuestRam;
use pvir_host::service::{Config, Service};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Interposer, ServiceMemory};
use crate::device::WrongDevice;
use crate::list::Wrong;
use crate::memory::WrongMemory;
use crate::router::WrongRouter;

const FIRST_GSI: u32 = 24;
const RAM: usize = 0x1_0000;
const BLOCK: u64 = 0x1000;
const AREA: u64 = 0x8000;
const ENTRIES: u32 = 8;

fn device() -> DeviceId {
    DeviceId::new(0, Bdf::new(0, 1, 0).unwrap())
}

/// What a guest calls, and its memory.
struct Host {
    ram: Arc<GuestMemoryMmap>,
    service: Arc<dyn Hypercalls>,
    /// The honest one, behind whatever is wrong.
    inner: Arc<Service>,
    kernel: SharedPlatform,
}

impl Host {
    /// The service of the library, over whatever it is given for RAM.
    fn service(kernel: &SharedPlatform, ram: Arc<dyn GuestRam>, wrong: Option<Wrong>) -> Arc<Service> {
        let config = Config::new(vec![0, 1], Conduits::MSR)
            .with_first_gsi(FIRST_GSI)
            .with_max_irtes(64)
            .with_max_irtes_per_device(64);
        let router = WrongRouter::new(Box::new(FakeKvm::new(kernel.clone())), wrong);
        let service = Service::new(&config, ram, Box::new(router)).unwrap();
        let fake = Box::new(FakeDevice::new(kernel.clone(), 0, ENTRIES));
        service
            .add_device(device(), Box::new(WrongDevice::new(fake, (0, Arc::default()), None, wrong)))
            .unwrap();
        Arc::new(service)
    }

    fn ram() -> Arc<GuestMemoryMmap> {
        Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap())
    }

    /// Without an interposer.
    fn bare() -> Self {
        let (ram, kernel) = (Self::ram(), SharedPlatform::new(FIRST_GSI));
        let inner = Self::service(&kernel, ram.clone(), None);
        Self { service: Arc::<Service>::clone(&inner), inner, ram, kernel }
    }

    fn with(wrong: Option<Wrong>) -> Self {
        let (ram, kernel) = (Self::ram(), SharedPlatform::new(FIRST_GSI));
        let memory = ServiceMemory::new(Arc::new(WrongMemory { ram: ram.clone(), wrong }), wrong);
        let memory = Arc::new(memory);
        let inner = Self::service(&kernel, memory.clone(), wrong);
        let interposer = Interposer::new(Arc::<Service>::clone(&inner), memory, wrong.into());
        Self { ram, service: Arc::new(interposer), inner, kernel }
    }

    /// With everything that the service offers, and an event area.
    fn enabled(wrong: impl Into<Option<Wrong>>) -> Self {
        let host = Self::with(wrong.into());
        assert_eq!(host.enable().0.status, Status::OK);
        host
    }

    fn enable(&self) -> (Header, Vec<EnableRecord>) {
        let features = Service::FEATURES;
        self.call(Operation::ENABLE, &[EnableRecord::request(features, Some(GuestPhysAddr(AREA)))])
    }

    fn features(&self) -> FeaturesRecord {
        self.call(Operation::FEATURES, &[FeaturesRecord::request()]).1[0]
    }

    fn map(&self, index: u32) -> EntryRecord {
        self.call(Operation::MAP, &[map(index)]).1[0]
    }

    fn write<R: IntoBytes + Immutable>(&self, at: u64, header: &Header, records: &[R]) {
        self.ram.write_slice(header.as_bytes(), GuestAddress(at)).unwrap();
        self.ram.write_slice(records.as_bytes(), GuestAddress(at + 64)).unwrap();
    }

    fn read<R: FromBytes + IntoBytes>(&self, at: u64) -> R {
        let mut record = R::new_zeroed();
        self.ram.read_slice(record.as_mut_bytes(), GuestAddress(at)).unwrap();
        record
    }

    fn call<R>(&self, operation: Operation, records: &[R]) -> (Header, Vec<R>)
    where
        R: FromBytes + IntoBytes + Immutable,
    {
        self.call_with(&header(operation, records.len()), records)
    }

    fn call_with<R>(&self, header: &Header, records: &[R]) -> (Header, Vec<R>)
    where
        R: FromBytes + IntoBytes + Immutable,
    {
        self.write(BLOCK, header, records);
        let status = self.service.call(0, 0, GuestPhysAddr(BLOCK));
        let answer: Header = self.read(BLOCK);
        assert_eq!(answer.status, status);
        let records = (1..).zip(records).map(|(unit, _)| self.read(BLOCK + unit * 64)).collect();
        (answer, records)
    }
}

fn header(operation: Operation, count: usize) -> Header {
    Header::request(Version::V1, operation, CallFlags::empty(), u32::try_from(count).unwrap())
}

fn map(index: u32) -> EntryRecord {
    EntryRecord::map(device(), Store::MSIX, index, X86Route::fixed(1, 0x50).into())
}

/// The entry of an answer, to be looked up or given back.
fn bare(entry: &EntryRecord) -> EntryRecord {
    EntryRecord::query(entry.device, entry.store, entry.index).with_handle(entry.handle)
}
