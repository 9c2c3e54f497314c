//! A service over the fake KVM, with guest RAM and three devices, and calls to it in wire bytes.

use super::*;
use zerocopy::{FromBytes, FromZeros};

/// A VM with three devices.
pub(super) struct ServiceFixture {
    pub(super) service: Service,
    pub(super) platform: SharedPlatform,
    pub(super) ram: Arc<GuestMemoryMmap>,
}

/// What the guest finds in its block afterwards, and what the conduit said.
pub(super) struct Answer<R> {
    pub(super) status: Status,
    pub(super) header: Header,
    pub(super) records: Vec<R>,
}

/// Everything that a refused call must leave as it was.
#[derive(PartialEq, Debug)]
pub(super) struct ServiceState {
    pub(super) platform: Footprint,
    pub(super) features: FeaturesRecord,
    pub(super) irtes: String,
    pub(super) queries: Vec<EntryRecord>,
}

impl ServiceFixture {
    pub(super) fn new() -> Self {
        Self::with(&config())
    }

    pub(super) fn without_devices(config: &Config) -> Self {
        let platform = SharedPlatform::new(config.first_gsi);
        let ranges = RAM.map(|(at, len)| (GuestAddress(at), len));
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
        let router = Box::new(FakeKvm::new(platform.clone()));
        let service = Service::new(config, ram.clone(), router).unwrap();
        Self { service, platform, ram }
    }

    pub(super) fn with(config: &Config) -> Self {
        let fixture = Self::without_devices(config);
        let msix = |number: u8| {
            FakeDevice::new(fixture.platform.clone(), number.into(), ENTRIES[usize::from(number)])
        };
        fixture.add(0, msix(0).with_backed_ims());
        fixture.add(1, msix(1).with_own_ims(IMS));
        fixture.add(2, FakeDevice::with_msi(fixture.platform.clone(), 2, MESSAGES));
        fixture
    }

    pub(super) fn add(&self, number: u8, fake: FakeDevice) {
        self.service.add_device(device(number), Box::new(fake)).unwrap();
    }

    /// With everything that the service offers.
    pub(super) fn enabled() -> Self {
        let fixture = Self::new();
        fixture.enable();
        fixture
    }

    /// Enabled, with up to `ahead` lines armed ahead.
    pub(super) fn armed(ahead: u32) -> Self {
        let fixture = Self::with(&Config { armed_ahead: ahead, ..config() });
        fixture.enable();
        fixture.arm();
        fixture
    }

    pub(super) fn arm(&self) {
        self.platform.lock().expect(None);
        self.service.arm_ahead();
        self.assert_order();
    }

    pub(super) fn enable(&self) {
        let asked = EnableRecord::request(Service::FEATURES, Some(GuestPhysAddr(AREA)));
        let answer = self.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
        assert_eq!(answer.status, Status::OK);
    }

    pub(super) fn disable(&self) -> Status {
        self.call::<EntryRecord>(Operation::DISABLE, CallFlags::empty(), &[]).status
    }

    /// One call with a whole and valid header.
    pub(super) fn call<R>(&self, operation: Operation, flags: CallFlags, records: &[R]) -> Answer<R>
    where
        R: FromBytes + IntoBytes + zerocopy::Immutable + Clone,
    {
        let count = u32::try_from(records.len()).unwrap();
        self.send(Header::request(Version::V1, operation, flags, count), records)
    }

    /// One call with any header. Whatever comes of it, the order was kept.
    pub(super) fn send<R>(&self, header: Header, records: &[R]) -> Answer<R>
    where
        R: FromBytes + IntoBytes + zerocopy::Immutable + Clone,
    {
        self.platform.lock().expect(Some(header.operation));
        let answer = self.send_at(BLOCK, header, records);
        self.assert_order();
        answer
    }

    pub(super) fn send_at<R>(&self, at: u64, header: Header, records: &[R]) -> Answer<R>
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

    pub(super) fn assert_order(&self) {
        let breaches = self.platform.lock().check();
        assert!(breaches.is_empty(), "{breaches:#?}");
    }

    pub(super) fn map(&self, records: &[EntryRecord]) -> Answer<EntryRecord> {
        self.call(Operation::MAP, CallFlags::empty(), records)
    }

    pub(super) fn retarget(&self, records: &[EntryRecord]) -> Answer<EntryRecord> {
        self.call(Operation::RETARGET, CallFlags::empty(), records)
    }

    pub(super) fn unmap(&self, records: &[EntryRecord]) -> Answer<EntryRecord> {
        self.call(Operation::UNMAP, CallFlags::empty(), records)
    }

    pub(super) fn query(&self, records: &[EntryRecord]) -> Answer<EntryRecord> {
        self.call(Operation::QUERY, CallFlags::empty(), records)
    }

    pub(super) fn features(&self) -> FeaturesRecord {
        self.call(Operation::FEATURES, CallFlags::empty(), &[FeaturesRecord::request()]).records[0]
    }

    pub(super) fn state(&self) -> ServiceState {
        let platform = self.platform.lock().footprint();
        let asked: Vec<_> = (0..2u8)
            .flat_map(|number| (0..8).map(move |index| query_of(number, index)))
            .chain([msi_query()])
            .collect();
        ServiceState {
            platform,
            features: self.features(),
            irtes: format!("{:?}", self.service.irtes()),
            queries: self.query(&asked).records,
        }
    }

    /// Asserts that nothing is held any more but what ENABLE gave.
    pub(super) fn assert_baseline(&self) {
        let mut platform = self.platform.lock();
        let Footprint { routes, irqfds, started, .. } = platform.footprint();
        assert!(routes.is_empty() && irqfds.is_empty() && started.is_empty(), "{:?}", platform.footprint());
        assert_eq!(platform.armed_ahead(), 0, "armed ahead");
        assert_eq!(platform.open_eventfds(), 0, "eventfds");
        drop(platform);
        assert!(self.service.irtes().is_empty());
        assert_eq!(self.free_gsis(), self.service.lock().max_irtes, "GSIs");
    }

    pub(super) fn free_gsis(&self) -> u32 {
        self.service.lock().lines.free_gsis()
    }

    pub(super) fn raise(&self, number: u8, index: u32) {
        self.platform.lock().raise(place(number, index));
    }

    /// Device 2 sends message `index`.
    pub(super) fn raise_message(&self, index: u32) {
        self.platform.lock().raise(Entry { device: 2, store: Store::MSI, index });
    }

    pub(super) fn unmask(&self, number: u8, index: u32) {
        self.platform.lock().guest_masks(place(number, index), false);
    }

    /// Destinations and vectors that were delivered since the last time.
    pub(super) fn delivered(&self) -> Vec<(u32, u8)> {
        self.platform.lock().take_deliveries().into_iter().map(|d| (d.destination, d.vector)).collect()
    }
}
