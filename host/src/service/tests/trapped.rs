//! Trapped stores: delivery, masks and pending bits, messages that change, and what ENABLE and DISABLE make of them.

use super::*;
use crate::device::Capabilities;
use crate::fake::{BackendCall, CallKind};
use crate::trapped::StoreArea as Where;
use pvir_abi::{Pair, Stores};
use std::io;

pub(super) const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;

/// A guest that does not know of pvir.
impl ServiceFixture {
    pub(super) fn put(&self, number: u8, place: Where, offset: u64, data: &[u8]) {
        self.platform.lock().expect(None);
        let served = self.service.trapped_write(device(number), place, offset, data, |_| {}).unwrap();
        assert_eq!(served, ServedBy::Emulation);
        self.assert_order();
    }

    pub(super) fn control(&self, number: u8, bits: u16) {
        self.put(number, Where::Capability, 2, &bits.to_le_bytes());
    }

    fn word(&self, number: u8, index: u32, word: u64, value: u32) {
        self.put(number, Where::Table, u64::from(index) * 16 + word * 4, &value.to_le_bytes());
    }

    /// Address and data, as they are masked or not.
    fn message(&self, number: u8, index: u32, destination: u32, vector: u8) {
        self.word(number, index, 0, 0xfee0_0000 | (destination & 0xff) << 12 | (destination & 0x7f00) >> 3);
        self.word(number, index, 2, vector.into());
    }

    pub(super) fn trapped_mask(&self, number: u8, index: u32, masked: bool) {
        self.word(number, index, 3, masked.into());
    }

    pub(super) fn live(&self, number: u8, index: u32, destination: u32, vector: u8) {
        self.message(number, index, destination, vector);
        self.trapped_mask(number, index, false);
    }

    pub(super) fn entry(&self, number: u8, index: u32) -> Option<[u32; 4]> {
        let mut words = [0; 4];
        for (word, at) in words.iter_mut().zip((u64::from(index) * 16..).step_by(4)) {
            let mut bytes = [0; 4];
            match self.service.trapped_read(device(number), Where::Table, at, &mut bytes, |_| {}).unwrap() {
                ServedBy::Emulation => *word = u32::from_le_bytes(bytes),
                ServedBy::Device => return None,
            }
        }
        Some(words)
    }

    pub(super) fn pending(&self, number: u8) -> u32 {
        let mut bytes = [0; 4];
        let served =
            self.service.trapped_read(device(number), Where::PendingBits, 0, &mut bytes, |_| {}).unwrap();
        assert_eq!(served, ServedBy::Emulation);
        u32::from_le_bytes(bytes)
    }

    /// The calls of something that the guest does.
    fn calls_of(&self, act: impl FnOnce()) -> Vec<BackendCall> {
        self.platform.lock().expect(None);
        act();
        self.platform.lock().calls().to_vec()
    }

    /// Nothing but what the features of a session hold.
    pub(super) fn assert_nothing_trapped(&self) {
        assert!(self.platform.lock().footprint().trapped.is_empty());
        self.assert_baseline();
    }
}

/// Two live entries of device 0.
fn live() -> ServiceFixture {
    let fixture = ServiceFixture::new();
    fixture.control(0, ENABLE);
    fixture.live(0, 2, 1, 0x51);
    fixture.live(0, 3, 300, 0x52);
    fixture
}

#[test]
fn first_use_is_in_the_safe_order_and_masks_cost_one_call() {
    let fixture = ServiceFixture::new();
    assert_eq!(fixture.calls_of(|| fixture.control(0, ENABLE)), [BackendCall::Trap(0, Store::MSIX)]);
    assert_eq!(fixture.calls_of(|| fixture.message(0, 2, 1, 0x51)), []);
    let used = fixture.calls_of(|| fixture.trapped_mask(0, 2, false));
    assert_eq!(
        used,
        [BackendCall::SetRoutes(1), BackendCall::Start(place(0, 2), 1), BackendCall::Attach(FIRST_GSI)]
    );
    assert_eq!(fixture.calls_of(|| fixture.trapped_mask(0, 2, true)), [BackendCall::Detach(FIRST_GSI)]);
    assert_eq!(fixture.calls_of(|| fixture.trapped_mask(0, 2, false)), [BackendCall::Attach(FIRST_GSI)]);
    assert_eq!(fixture.calls_of(|| fixture.trapped_mask(0, 2, false)), []);
    assert_eq!(fixture.calls_of(|| fixture.word(0, 2, 2, 0x61)), [BackendCall::SetRoutes(1)]);
    let off = fixture.calls_of(|| fixture.control(0, 0));
    assert_eq!(
        off,
        [
            BackendCall::Stop(place(0, 2), 1),
            BackendCall::Detach(FIRST_GSI),
            BackendCall::SetRoutes(0),
            BackendCall::Untrap(0, Store::MSIX)
        ]
    );
    fixture.assert_nothing_trapped();
}

#[test]
fn what_is_raised_while_masked_is_pending_and_sent_once() {
    let fixture = live();
    fixture.raise(0, 3);
    assert_eq!((fixture.delivered(), fixture.pending(0)), (vec![(300, 0x52)], 0));
    fixture.trapped_mask(0, 3, true);
    fixture.raise(0, 3);
    fixture.raise(0, 3);
    // Reading it changes nothing.
    assert_eq!((fixture.pending(0), fixture.pending(0), fixture.delivered()), (8, 8, vec![]));
    fixture.message(0, 3, 0, 0x61);
    fixture.trapped_mask(0, 3, false);
    assert_eq!((fixture.delivered(), fixture.pending(0)), (vec![(0, 0x61)], 0));
}

#[test]
fn what_is_raised_before_the_first_use_is_held_by_the_device() {
    let fixture = ServiceFixture::new();
    fixture.control(0, ENABLE);
    fixture.raise(0, 5);
    assert_eq!(fixture.pending(0), 1 << 5);
    fixture.live(0, 5, 1, 0x44);
    assert_eq!((fixture.delivered(), fixture.pending(0)), (vec![(1, 0x44)], 0));
}

#[test]
fn the_function_mask_is_one_batch() {
    let fixture = ServiceFixture::new();
    fixture.control(0, ENABLE | FUNCTION_MASK);
    for index in 0..8u8 {
        fixture.live(0, index.into(), 0, 0x40 + index);
    }
    assert!(fixture.platform.lock().footprint().started.is_empty(), "all are masked by the function");
    let on = fixture.calls_of(|| fixture.control(0, ENABLE));
    assert_eq!((on[0], on[1]), (BackendCall::SetRoutes(8), BackendCall::Start(place(0, 0), 8)));
    assert_eq!(on.len(), 10);
    fixture.control(0, ENABLE | FUNCTION_MASK);
    (0..8).for_each(|index| fixture.raise(0, index));
    assert_eq!((fixture.pending(0), fixture.delivered()), (0xff, vec![]));
    let off = fixture.calls_of(|| fixture.control(0, ENABLE));
    assert_eq!((off.len(), fixture.platform.lock().count(CallKind::Attach)), (8, 8));
    assert_eq!(fixture.delivered(), (0..8).map(|index| (0, 0x40 + index)).collect::<Vec<_>>());
}

#[test]
fn a_message_that_goes_nowhere_loses_what_is_raised() {
    let fixture = live();
    fixture.word(0, 2, 2, 4 << 8 | 0x51);
    fixture.raise(0, 2);
    assert_eq!((fixture.delivered(), fixture.pending(0)), (vec![], 0));
    fixture.trapped_mask(0, 2, true);
    assert_eq!(fixture.pending(0), 0, "it was sent, to no vCPU");
    fixture.word(0, 2, 2, 0x51);
    fixture.trapped_mask(0, 2, false);
    assert_eq!(fixture.delivered(), []);
    fixture.raise(0, 2);
    assert_eq!(fixture.delivered(), [(1, 0x51)]);
    fixture.word(0, 2, 0, 0xfee0_1010);
    fixture.live(0, 7, 0, 14);
    fixture.raise(0, 7);
    assert_eq!(fixture.delivered(), []);
}

#[test]
fn enable_takes_over_and_disable_traps_again() {
    let fixture = live();
    fixture.enable();
    assert_eq!(fixture.entry(0, 2), None, "the table is the guest's");
    assert!(fixture.platform.lock().footprint().trapped.is_empty());
    fixture.raise(0, 2);
    assert_eq!(fixture.delivered(), [], "T2");
    assert_eq!(fixture.map(&[routed(0, 2, 0, 0x70)]).status, Status::OK);
    fixture.unmask(0, 2);
    fixture.raise(0, 2);
    assert_eq!(fixture.delivered(), [(0, 0x70)]);
    assert_eq!(fixture.disable(), Status::OK);
    // T4; MSI-X Enable is as the guest left it.
    assert_eq!(fixture.entry(0, 2), Some([0, 0, 0, 1]));
    fixture.live(0, 2, 1, 0x53);
    fixture.raise(0, 2);
    assert_eq!(fixture.delivered(), [(1, 0x53)]);
    fixture.service.shut_down();
    fixture.assert_nothing_trapped();
    assert_eq!(fixture.entry(0, 2), Some([0, 0, 0, 1]));
}

#[test]
fn a_device_whose_store_was_not_taken_stays_trapped() {
    let fixture = ServiceFixture::new();
    let only_msix = Capabilities { stores: Stores::MSIX, msix_entries: 4, ..Capabilities::default() };
    fixture.add(3, FakeDevice::new(fixture.platform.clone(), 3, 4).with_capabilities(only_msix));
    fixture.control(3, ENABLE);
    fixture.live(3, 3, 300, 0x52);
    let asked = EnableRecord::request(Features::MSI, None);
    let answer = fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
    assert_eq!(answer.status, Status::OK);
    let platform = fixture.platform.lock().footprint();
    assert!(platform.open.contains(&2) && !platform.open.contains(&3));
    fixture.raise(3, 3);
    assert_eq!(fixture.delivered(), [(300, 0x52)], "T5");
    fixture.trapped_mask(3, 3, true);
    fixture.raise(3, 3);
    assert_eq!(fixture.pending(3), 8);
    assert_eq!(fixture.disable(), Status::OK);
    assert_eq!(fixture.pending(3), 8, "it was none of DISABLE's");
    fixture.trapped_mask(3, 3, false);
    assert_eq!(fixture.delivered(), [(300, 0x52)]);
}

#[test]
fn a_refused_enable_touches_nothing() {
    let fixture = live();
    fixture.add(
        3,
        FakeDevice::new(fixture.platform.clone(), 3, 1).not_isolated(pvir_abi::Refusal::NO_REMAPPING),
    );
    let before = fixture.platform.lock().footprint();
    let asked = EnableRecord::request(Service::FEATURES, None);
    let answer = fixture.call(Operation::ENABLE, CallFlags::empty(), &[asked]);
    assert_eq!((answer.status, answer.records[0].device), (Status::REFUSED, device(3)));
    assert!(fixture.platform.lock().calls().is_empty());
    assert_eq!(fixture.platform.lock().footprint(), before);
    fixture.raise(0, 3);
    assert_eq!(fixture.delivered(), [(300, 0x52)], "E6");
}

/// MSI: all messages at once, by the number that is enabled.
#[test]
fn messages_of_msi_come_and_go_together() {
    let fixture = ServiceFixture::new();
    let four = Capabilities { stores: Stores::MSI, msi_messages: 4, ..Capabilities::default() };
    fixture.add(3, FakeDevice::new(fixture.platform.clone(), 3, 0).with_capabilities(four));
    let msi = |index| Entry { device: 3, store: Store::MSI, index };
    let pair = Pair { address: 0xfee0_1000, data: 0x48 };
    fixture.put(3, Where::Capability, 4, &pair.address.to_le_bytes());
    fixture.put(3, Where::Capability, 12, &pair.data.to_le_bytes()[..2]);
    let on = fixture.calls_of(|| fixture.put(3, Where::Capability, 2, &[1 | 2 << 4]));
    assert_eq!((on[0], on[1], on.len()), (BackendCall::Trap(3, Store::MSI), BackendCall::SetRoutes(4), 7));
    assert_eq!(on[2], BackendCall::Start(msi(0), 4));
    (0..4).for_each(|index| fixture.platform.lock().raise(msi(index)));
    assert_eq!(fixture.delivered(), [(1, 0x48), (1, 0x49), (1, 0x4a), (1, 0x4b)]);
    let two = fixture.calls_of(|| fixture.put(3, Where::Capability, 2, &[1 | 1 << 4]));
    assert_eq!(two[0], BackendCall::Stop(msi(0), 4));
    assert!(two.contains(&BackendCall::Start(msi(0), 2)));
    fixture.put(3, Where::Capability, 2, &[0]);
    fixture.assert_nothing_trapped();
}

#[test]
fn accesses_to_what_is_not_there_are_refused() {
    let fixture = ServiceFixture::new();
    let nothing = Capabilities::default();
    fixture.add(3, FakeDevice::new(fixture.platform.clone(), 3, 0).with_capabilities(nothing));
    for number in [3, 9] {
        let mut data = [7; 4];
        let error =
            fixture.service.trapped_read(device(number), Where::Table, 0, &mut data, |_| {}).unwrap_err();
        assert_eq!((error.kind(), data), (io::ErrorKind::NotFound, [7; 4]));
        let written = fixture.service.trapped_write(device(number), Where::Table, 0, &data, |_| {});
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
    // Behind the table, and the pending bits.
    fixture.control(0, ENABLE);
    fixture.put(0, Where::Table, 64 * 16, &[0; 4]);
    fixture.put(0, Where::PendingBits, 0, &[0xff; 8]);
    assert_eq!(fixture.pending(0), 0);
}

#[test]
fn what_is_trapped_is_told_with_where_it_goes() {
    let fixture = live();
    (0..3).for_each(|_| fixture.raise(0, 3));
    fixture.trapped_mask(0, 2, true);
    let reported = fixture.service.live().trapped.into_iter().map(|record| {
        let to = record.message.map(|message| (message.destination(), message.vector()));
        (record.origin.index, record.gsi, to, record.host.unwrap().count.unwrap())
    });
    assert_eq!(reported.collect::<Vec<_>>(), [(2, Some(24), None, 0), (3, Some(25), Some((300, 0x52)), 3)]);
}
