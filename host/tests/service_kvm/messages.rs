//! The messages of one MSI.

use super::*;
use pvir_host::device::{Capabilities, Device, NotIsolated};
use pvir_host::eventfd::EventFd;
use std::sync::Mutex;

/// A device with nothing but the messages of an MSI capability, raised by hand.
#[derive(Clone, Default)]
pub(crate) struct MsiDevice(Arc<Mutex<Vec<EventFd>>>);

impl MsiDevice {
    pub(crate) const ALL: u32 = 8;

    pub(crate) fn raise(&self, message: usize) {
        self.0.lock().unwrap()[message].write(1).unwrap();
    }
}

impl Device for MsiDevice {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_msi(Self::ALL)
    }
    fn name(&self) -> String {
        "messages".into()
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
    fn start(&mut self, _: Store, _: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        *self.0.lock().unwrap() = eventfds.iter().map(|e| e.try_clone()).collect::<io::Result<_>>()?;
        Ok(())
    }
    fn stop(&mut self, _: Store, _: u32, count: u32) -> io::Result<()> {
        assert_eq!(self.0.lock().unwrap().drain(..).len(), count as usize);
        Ok(())
    }
    fn pair(&mut self, _: Store, _: u32) -> io::Result<Pair> {
        Ok(Pair { address: 0xfee0_0018, data: 0 })
    }
    fn mask(&mut self, _: Store, _: u32) -> io::Result<bool> {
        Ok(false)
    }
}

#[test]
fn the_messages_of_an_msi_move_and_park_together() {
    let Some(fixture) = fixture_with(Some(MsiDevice::default()), 0) else { return };
    let raise = |all: &[usize]| all.iter().for_each(|message| fixture.messages.raise(*message));
    let count = MsiDevice::ALL;
    let msi = |to| EntryRecord {
        count,
        ..EntryRecord::map(msi_device(), Store::MSI, 0, X86Route::fixed(to, 0x60).into())
    };
    let mapped = fixture.one(Operation::MAP, msi(300));
    assert_eq!((fixture.ioctls("KVM_SET_GSI_ROUTING"), fixture.ioctls("KVM_IRQFD")), (1, 8));
    raise(&[0, 3, 7]);
    fixture.assert_arrives(&[(300, 0x60), (300, 0x63), (300, 0x67)]);
    fixture.one(Operation::RETARGET, msi(1).with_handle(mapped.handle));
    assert_eq!((fixture.ioctls("KVM_SET_GSI_ROUTING"), fixture.ioctls("KVM_IRQFD")), (2, 8));
    raise(&[1]);
    fixture.assert_arrives(&[(1, 0x61), (300, 0x60), (300, 0x63), (300, 0x67)]);
    let parked = EntryRecord { count, ..EntryRecord::map_parked(msi_device(), Store::MSI, 0) };
    fixture.one(Operation::RETARGET, parked.with_handle(mapped.handle));
    raise(&[2, 2, 2]);
    fixture.assert_nothing_more(&[(1, 0x61), (300, 0x60), (300, 0x63), (300, 0x67)]);
    fixture.one(Operation::RETARGET, msi(0).with_handle(mapped.handle));
    fixture.assert_arrives(&[(0, 0x62), (1, 0x61), (300, 0x60), (300, 0x63), (300, 0x67)]);
    let given_back = EntryRecord { count, ..EntryRecord::query(msi_device(), Store::MSI, 0) };
    fixture.one(Operation::UNMAP, given_back.with_handle(mapped.handle));
    assert_eq!(fixture.ioctls("KVM_IRQFD (de-assign)"), 16, "parked once, unmapped once");
}
