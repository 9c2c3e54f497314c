//! A VM on the fake KVM, with a device of each kind, and what is looked at after everything that happens in it.

use anyhow::{Context, Result, ensure};
use pvir_abi::{Bdf, Conduits, DeviceId, GuestPhysAddr, Status, Store};
use pvir_host::fake::{Delivery, Entry, FakeDevice, FakeKvm, SharedPlatform};
use pvir_host::service::{Config, RateLimit, Service};
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryMmap};

const FIRST_GSI: u32 = 24;
/// Bytes of RAM, from address 0 on.
pub(crate) const RAM_LEN: usize = 0x2_0000;
/// Where the request block is.
pub(crate) const BLOCK: u64 = 0x1_0000;
/// Entries of each device's table; of the last one messages of MSI.
const ENTRIES: [u32; 3] = [8, 3, 4];

/// The VM.
pub(crate) struct Machine {
    pub(crate) service: Arc<Service>,
    pub(crate) platform: SharedPlatform,
    pub(crate) ram: Arc<GuestMemoryMmap>,
}

/// The devices, as the guest names them.
pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::new(0, Bdf(u16::from(number + 1) << 3))
}

impl Machine {
    /// Two devices with MSI-X, one of which has IMS of its own, and one with MSI.
    pub(crate) fn new() -> Result<Self> {
        let machine = Self::bare()?;
        let platform = &machine.platform;
        let devices = [
            FakeDevice::new(platform.clone(), 0, ENTRIES[0]).with_backed_ims(),
            FakeDevice::new(platform.clone(), 1, ENTRIES[1]).with_own_ims(2),
            FakeDevice::with_msi(platform.clone(), 2, ENTRIES[2]),
        ];
        for (number, fake) in (0..).zip(devices) {
            machine.service.add_device(device(number), Box::new(fake))?;
        }
        Ok(machine)
    }

    /// No device yet. Nothing is held back for work: what bounds it has tests of its own.
    pub(crate) fn bare() -> Result<Self> {
        let platform = SharedPlatform::new(FIRST_GSI);
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_LEN)]).context("no RAM")?;
        let ram = Arc::new(ram);
        let config = Config::new(vec![0, 1, 300], Conduits::MSR | Conduits::PORT)
            .with_first_gsi(FIRST_GSI)
            .with_max_irtes(12)
            .with_rate_limit(RateLimit::OFF);
        let kvm = Box::new(FakeKvm::new(platform.clone()));
        let service = Arc::new(Service::new(&config, ram.clone(), kvm)?);
        Ok(Self { service, platform, ram })
    }

    /// A device raises an interrupt, or the guest masks or unmasks an entry without an exit.
    pub(crate) fn touch(&self, number: u8, index: u8, what: u8) {
        let device = u32::from(number % 3);
        let store = if device == 2 { Store::MSI } else { Store::MSIX };
        let index = u32::from(index) % ENTRIES[device as usize];
        let entry = Entry { device, store, index: if device == 2 { 0 } else { index } };
        let mut platform = self.platform.lock();
        match what % 4 {
            0 => platform.raise(entry),
            1 => {
                platform.guest_masks(entry, false);
                platform.raise(entry);
            }
            2 => platform.guest_masks(entry, false),
            _ => platform.guest_masks(entry, true),
        }
    }

    /// A call at the usual place.
    pub(crate) fn call(&self, vcpu: u8) -> Status {
        self.service.call(usize::from(vcpu % 3), 0, GuestPhysAddr(BLOCK))
    }

    /// Nobody has broken the safe order, and every interrupt is one that may be sent.
    pub(crate) fn check(&self, may_be_sent: fn(Delivery) -> bool) -> Result<()> {
        let breaches = self.platform.lock().check();
        ensure!(breaches.is_empty(), "the order is broken: {breaches:?}");
        for sent in self.platform.lock().take_deliveries() {
            ensure!(may_be_sent(sent), "{sent:?} went out");
        }
        Ok(())
    }

    /// The VM ends, and nothing is left of it.
    pub(crate) fn end(self, may_be_sent: fn(Delivery) -> bool) -> Result<()> {
        self.service.shut_down();
        self.check(may_be_sent)?;
        let left = self.platform.lock().footprint();
        ensure!(
            left.routes.is_empty() && left.irqfds.is_empty() && left.started.is_empty(),
            "left: {left:?}"
        );
        Ok(())
    }
}
