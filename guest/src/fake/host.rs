//! The fake host of one VM, with its devices and their IRTEs.
#![expect(unsafe_code, reason = "makes block memory, and is a conduit")]

use super::answer;
use super::memory::Shared;
use super::std::boxed::Box;
use super::std::collections::{BTreeMap, BTreeSet};
use super::std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use super::std::vec::Vec;
use crate::{BlockMemory, Conduit, Discovered, EventMemory};
use core::fmt;
use pvir_abi::{
    DeviceFlags, DeviceId, Discovery, EventArea, EventReason, Features, GuestPhysAddr, Handle, Header,
    MAX_RECORDS, Operation, Pair, Refusal, Routing, Status, Version, block_len,
};
use x86_64::PhysAddr;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A device of the fake host.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FakeDevice {
    /// The device, as the guest sees it.
    pub id: DeviceId,
    /// Number of entries of its MSI-X table.
    pub msix_entries: u32,
    /// Number of messages of its MSI capability that are served: 0 for a device with MSI-X (statement M12).
    pub msi_messages: u32,
    /// Number of its IMS entries. They share the interrupts of MSI-X entries, unless the device is EMULATED
    /// (statement M11).
    pub ims_entries: u32,
    /// Maximum number of IRTEs that may be held for it.
    pub max_irtes: u32,
    /// The flags that DEVICE_INFO answers for it.
    pub flags: DeviceFlags,
}

impl FakeDevice {
    /// A device with an MSI-X table of `entries` entries and as many IMS entries.
    #[must_use]
    pub const fn new(id: DeviceId, entries: u32) -> Self {
        let flags = DeviceFlags::DIRECT.union(DeviceFlags::DYNAMIC);
        Self { id, msix_entries: entries, msi_messages: 0, ims_entries: entries, max_irtes: 4096, flags }
    }

    /// A device with an MSI capability of `messages` messages, and nothing else.
    #[must_use]
    pub const fn with_msi(id: DeviceId, messages: u32) -> Self {
        let flags = DeviceFlags::empty();
        Self { id, msix_entries: 0, msi_messages: messages, ims_entries: 0, max_irtes: 4096, flags }
    }
}

/// One IRTE.
#[derive(Clone, Copy, Debug)]
pub(super) struct FakeIrte {
    pub(super) handle: Handle,
    pub(super) count: u32,
    /// `None`: parked.
    pub(super) routing: Option<Routing>,
    pub(super) pair: Pair,
}

/// Device, store kind, index.
pub(super) type Key = (DeviceId, u16, u32);
/// Changes an answer before the guest sees it: the block's bytes, and the status that the conduit gives.
type Tamper = Box<dyn FnMut(&mut [u8], &mut Status) + Send>;
/// Answers a request itself: the block's bytes, and what the conduit says; or leaves it to the host.
type Script = Box<dyn FnMut(&[u8]) -> Option<(Vec<u8>, Status)> + Send>;

pub(super) struct Enabled {
    pub(super) features: Features,
    pub(super) area: Option<u64>,
}

#[derive(Clone)]
pub(super) struct State {
    pub(super) discovery: Discovery,
    pub(super) devices: Vec<FakeDevice>,
    pub(super) irtes: BTreeMap<Key, FakeIrte>,
    pub(super) enabled: Option<Arc<Enabled>>,
    pub(super) refusal: Option<(Refusal, DeviceId)>,
    pub(super) epoch: u64,
    pub(super) next: u32,
    pub(super) max_apic_id: u32,
    /// Devices that were taken with ATTACH.
    pub(super) attached: BTreeSet<DeviceId>,
    /// The status of devices that are gone or cut off.
    pub(super) away: BTreeMap<DeviceId, Status>,
}

struct Inner {
    state: State,
    event: EventArea,
    blocks: Vec<Shared>,
    area: Option<Shared>,
    tamper: Option<Tamper>,
    script: Option<Script>,
    calls: Vec<Operation>,
}

/// A host that keeps the contract, and panics when the guest does not. It is its own conduit; clones are the same
/// host.
#[derive(Clone)]
pub struct FakeHost(Arc<Mutex<Inner>>);

/// Its vCPUs have the APIC ids 0 to this.
const LAST_APIC_ID: u32 = 63;

/// Where the fake host's area lies, and its first block.
const AREA_ADDRESS: u64 = 0x20_0000;
const BLOCK_ADDRESS: u64 = 0x100_0000;
/// Distance from block to block.
const BLOCK_STEP: u64 = 0x1_0000;

impl FakeHost {
    /// A host of a VM with `devices`, all features, vCPUs with the APIC ids 0 to 63, and 512 records in a call.
    #[must_use]
    pub fn new(devices: &[FakeDevice]) -> Self {
        let discovery = Discovery::new(Features::all()).with_msr(0x5056_0000).with_port(0x5058);
        let state = State {
            discovery,
            devices: devices.to_vec(),
            irtes: BTreeMap::new(),
            enabled: None,
            refusal: None,
            epoch: 0,
            next: 1,
            max_apic_id: LAST_APIC_ID,
            attached: BTreeSet::new(),
            away: BTreeMap::new(),
        };
        let event = EventArea::new_zeroed();
        Self(Arc::new(Mutex::new(Inner {
            state,
            event,
            blocks: Vec::new(),
            area: None,
            tamper: None,
            script: None,
            calls: Vec::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a guest of this host discovers.
    #[must_use]
    pub fn discovered(&self) -> Discovered {
        let host = self.inner().state.discovery;
        Discovered { host, version: Version::V1, usable: host.conduits }
    }

    /// Makes the host take at most `records` records in a call.
    pub fn set_max_records(&self, records: u32) {
        self.inner().state.discovery.max_records = records;
    }

    /// Makes the host refuse ENABLE from now on, for `reason` and because of `device`.
    pub fn refuse(&self, reason: Refusal, device: DeviceId) {
        self.inner().state.refusal = Some((reason, device));
    }

    /// Memory for one more request block with room for `records` records, 512 at most, which is never freed.
    #[must_use]
    pub fn block(&self, records: u32) -> BlockMemory {
        let len = block_len(records.min(MAX_RECORDS));
        let mut inner = self.inner();
        let address = BLOCK_ADDRESS + inner.blocks.len() as u64 * BLOCK_STEP;
        let shared = Shared::new(address, len);
        inner.blocks.push(shared);
        // SAFETY: allocated with this length, never freed, and given out once; the fake host finds it at the address.
        unsafe { BlockMemory::new(shared.pointer, len, PhysAddr::new(address)) }.unwrap()
    }

    /// Memory for an event area, which is never freed.
    #[must_use]
    pub fn event_memory(&self) -> EventMemory {
        let shared = Shared::new(AREA_ADDRESS, size_of::<EventArea>());
        self.inner().area = Some(shared);
        // SAFETY: as for the block.
        unsafe { EventMemory::new(shared.pointer, PhysAddr::new(AREA_ADDRESS)) }.unwrap()
    }

    /// Announces an event of `device`, or with `None` of every device: their IRTEs are gone, and the epoch changes. A
    /// device that is gone or cut off answers so from then on.
    pub fn raise_event(&self, reason: EventReason, device: Option<DeviceId>) {
        let mut inner = self.inner();
        let away = match reason {
            EventReason::DEVICE_GONE => Some(Status::DEVICE_GONE),
            EventReason::DEVICE_CUT_OFF => Some(Status::DEVICE_CUT_OFF),
            _ => None,
        };
        inner.state.away.extend(device.zip(away));
        inner.state.irtes.retain(|(of, ..), _| device.is_some_and(|device| *of != device));
        inner.state.epoch += 1;
        let every = DeviceId::new(u16::MAX, pvir_abi::Bdf(u16::MAX));
        let (epoch, sequence) = (inner.state.epoch, inner.event.sequence + 1);
        inner.event =
            EventArea { epoch, sequence, reason, device: device.unwrap_or(every), reserved: [0; 5] };
        inner.publish();
    }

    /// Lets a device go on that was cut off, or plugs one in that was gone.
    pub fn readmit(&self, device: DeviceId) {
        self.inner().state.away.remove(&device);
    }

    /// Lets `tamper` change each answer from now on: the bytes of the block, and the status that the conduit answers.
    pub fn tamper(&self, tamper: impl FnMut(&mut [u8], &mut Status) + Send + 'static) {
        self.inner().tamper = Some(Box::new(tamper));
    }

    /// Lets `script` answer requests in place of the host from now on: it gets the bytes of the block, and returns
    /// the new bytes and the status that the conduit answers, or `None` to leave the request to the host.
    pub fn script(&self, script: impl FnMut(&[u8]) -> Option<(Vec<u8>, Status)> + Send + 'static) {
        self.inner().script = Some(Box::new(script));
    }

    /// Ends what [`FakeHost::tamper`] and [`FakeHost::script`] began.
    pub fn be_honest(&self) {
        let mut inner = self.inner();
        (inner.tamper, inner.script) = (None, None);
    }

    /// The operations of all calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Operation> {
        self.inner().calls.clone()
    }

    /// Number of IRTEs that the host holds for the guest.
    #[must_use]
    pub fn held(&self) -> usize {
        self.inner().state.irtes.len()
    }
}

impl Inner {
    fn publish(&self) {
        let wanted = self.state.enabled.as_ref().and_then(|enabled| enabled.area);
        if let (Some(area), Some(address)) = (self.area, wanted) {
            assert_eq!(area.address, address, "statement E3: there is no event area at {address:#x}");
            area.write(self.event.as_bytes());
        }
    }

    fn call(&mut self, address: GuestPhysAddr) -> Status {
        let there = self.blocks.iter().find(|block| block.address == address.0);
        let block = *there.expect("statement B1: no block there");
        let header = Header::read_from_bytes(&block.read(64)).unwrap();
        assert!(
            header.count <= self.state.discovery.max_records,
            "statement BAD_COUNT: {} records",
            header.count
        );
        let mut bytes = block.read(block_len(header.count));
        self.calls.push(header.operation);
        if let Some((answer, status)) = self.script.as_mut().and_then(|script| script(&bytes)) {
            block.write(&answer);
            return status;
        }
        let was_enabled = self.state.enabled.is_some();
        let mut status = answer::call(&mut self.state, &mut bytes);
        if !was_enabled && self.state.enabled.is_some() {
            self.event = EventArea { epoch: self.state.epoch, ..EventArea::new_zeroed() };
            self.publish();
        }
        if let Some(tamper) = &mut self.tamper {
            tamper(&mut bytes, &mut status);
        }
        block.write(&bytes);
        status
    }
}

impl Conduit for FakeHost {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        self.inner().call(block)
    }
}

impl fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeHost").field("held", &self.held()).finish_non_exhaustive()
    }
}
