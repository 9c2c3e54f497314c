//! A VM whose devices are all emulated, so that it can be saved, and what moves it into a new one.

use super::*;
use crate::trapped::StoreArea;

pub(super) struct SavedVm {
    pub(super) fixture: ServiceFixture,
}

impl SavedVm {
    /// A VM whose guest has done nothing yet.
    pub(super) fn new() -> Self {
        let fixture = ServiceFixture::without_devices(&config());
        let platform = || fixture.platform.clone();
        fixture.add(0, FakeDevice::new(platform(), 0, ENTRIES[0]).emulated());
        fixture.add(1, FakeDevice::new(platform(), 1, ENTRIES[1]).with_own_ims(IMS).emulated());
        fixture.add(2, FakeDevice::with_msi(platform(), 2, MESSAGES).emulated());
        Self { fixture }
    }

    /// With everything that the service offers.
    pub(super) fn enabled() -> Self {
        Self::with(Service::FEATURES)
    }

    pub(super) fn with(features: Features) -> Self {
        let vm = Self::new();
        let asked = EnableRecord::request(features, Some(GuestPhysAddr(AREA)));
        let answer = vm.fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
        assert_eq!(answer.status, Status::OK);
        vm
    }

    /// Saves it, ends it, and restores it into a new VM with the same RAM.
    pub(super) fn move_on(self) -> Self {
        self.fixture.platform.lock().expect(None);
        let bytes = self.fixture.service.save().unwrap().to_bytes().unwrap();
        self.fixture.assert_order();
        assert!(self.fixture.platform.lock().footprint().irqfds.is_empty());
        let after = Self::new();
        after.fixture.ram.write_slice(self.area().as_bytes(), GuestAddress(AREA)).unwrap();
        self.fixture.service.shut_down();
        self.fixture.assert_baseline();
        after.fixture.platform.lock().expect(None);
        after.fixture.service.restore(&SavedState::from_bytes(&bytes).unwrap()).unwrap();
        after.fixture.assert_order();
        after
    }

    /// The guest takes a device.
    pub(super) fn attach(&self, number: u8) {
        let asked = pvir_abi::AttachRecord::request(device(number));
        let answer = self.fixture.call(Operation::ATTACH, CallFlags::empty(), &[asked]);
        assert_eq!(answer.status, Status::OK);
    }

    pub(super) fn area(&self) -> EventArea {
        let mut area = EventArea::new_zeroed();
        self.fixture.ram.read_slice(area.as_mut_bytes(), GuestAddress(AREA)).unwrap();
        area
    }

    /// The guest programs MSI of device 2 itself, for one message.
    pub(super) fn program_msi(&self, destination: u32, vector: u8) {
        let write = |offset, data: &[u8]| self.fixture.put(2, StoreArea::Capability, offset, data);
        write(4, &(0xfee0_0000 | destination << 12).to_le_bytes());
        write(8, &[0; 4]);
        write(0x0c, &[vector, 0]);
        write(2, &[1, 0]);
    }

    /// Message control of MSI of device 2.
    pub(super) fn msi_control(&self) -> u16 {
        let mut control = [0; 2];
        let read =
            self.fixture.service.trapped_read(device(2), StoreArea::Capability, 2, &mut control, |_| {});
        assert_eq!(read.unwrap(), ServedBy::Emulation);
        u16::from_le_bytes(control)
    }
}
