//! IMS: the device's own, and made of its MSI-X entries.

use super::*;
use crate::fake::{BackendCall, CallKind};
use pvir_abi::EntryState;

fn at(number: u8, index: u32) -> Entry {
    Entry { device: number.into(), store: Store::IMS, index }
}

/// The MSI-X entry of device 0 that an IMS entry is made of.
fn backing(ims: u32) -> u32 {
    ENTRIES[0] - 1 - ims
}

#[test]
fn an_ims_entry_has_no_mask_and_arrives_as_routed() {
    // M1, M3, M8
    for number in [0, 1] {
        let fixture = ServiceFixture::enabled();
        let record = fixture.map(&[ims(number, 2, 300, 0x51)]).records[0];
        assert_eq!((record.status, record.state), (Status::OK, 0));
        assert_ne!((record.handle, record.address), (Handle::NONE, 0));
        fixture.platform.lock().raise(at(number, 2));
        assert_eq!(fixture.delivered(), [(300, 0x51)]);
        fixture.retarget(&[moved(&record, 1, 0x60)]);
        fixture.platform.lock().raise(at(number, 2));
        assert_eq!(fixture.delivered(), [(1, 0x60)]);
        assert_eq!(fixture.unmap(&[named(&record)]).status, Status::OK);
        fixture.platform.lock().raise(at(number, 2));
        assert_eq!(fixture.delivered(), []);
        fixture.assert_baseline();
    }
}

#[test]
fn what_is_raised_while_parked_is_held() {
    // M6
    let fixture = ServiceFixture::enabled();
    let record = fixture.map(&[EntryRecord::map_parked(device(0), Store::IMS, 2)]).records[0];
    assert_eq!(record.state, EntryState::PARKED.bits());
    (0..3).for_each(|_| fixture.platform.lock().raise(at(0, 2)));
    fixture.retarget(&[moved(&record, 1, 0x60)]);
    assert_eq!(fixture.delivered(), [(1, 0x60)]);
}

#[test]
fn a_run_of_either_store_is_one_start() {
    let fixture = ServiceFixture::enabled();
    let both = (0..4).flat_map(|index| [ims(0, index, 0, 0x51), routed(0, index, 0, 0x52)]);
    assert_eq!(fixture.map(&both.collect::<Vec<_>>()).status, Status::OK);
    let platform = fixture.platform.lock();
    let starts: Vec<_> =
        platform.calls().iter().filter(|call| call.kind() == CallKind::Start).copied().collect();
    assert_eq!(starts, [BackendCall::Start(place(0, 0), 4), BackendCall::Start(at(0, 0), 4)]);
}

#[test]
fn an_entry_and_its_backing_exclude_each_other() {
    // M11
    let fixture = ServiceFixture::enabled();
    let first = fixture.map(&[ims(0, 3, 0, 0x51), routed(0, backing(4), 0, 0x52)]).records;
    let before = fixture.state();
    let others = [routed(0, backing(3), 0, 0x51), parked(0, backing(3)), ims(0, 4, 0, 0x52)];
    assert_eq!(statuses(&fixture.map(&others).records), [Status::BACKING_IN_USE; 3]);
    let queries = [query_of(0, backing(3)), EntryRecord::query(device(0), Store::IMS, 4)];
    assert_eq!(statuses(&fixture.query(&queries).records), [Status::STALE_HANDLE; 2], "Q1");
    assert_eq!(fixture.state(), before);
    assert_eq!(statuses(&fixture.map(&[ims(0, 3, 1, 0x51)]).records), [Status::ALREADY_MAPPED]);
    fixture.unmap(&first.iter().map(named).collect::<Vec<_>>());
    assert_eq!(fixture.map(&others[1..]).status, Status::OK);
}

#[test]
fn in_one_call_the_first_of_two_that_share_wins() {
    // O4
    let fixture = ServiceFixture::enabled();
    let two = [ims(0, 3, 0, 0x51), routed(0, backing(3), 0, 0x52)];
    for asked in [two, [two[1], two[0]]] {
        let answer = fixture.call(Operation::MAP, CallFlags::ALL_OR_NOTHING, &asked);
        assert_eq!(statuses(&answer.records), [Status::ABORTED, Status::BACKING_IN_USE]);
        fixture.assert_baseline();
        let each = fixture.map(&asked).records;
        assert_eq!(statuses(&each), [Status::OK, Status::BACKING_IN_USE]);
        fixture.unmap(&[named(&each[0])]);
    }
}

#[test]
fn the_whole_table_can_be_had_in_either_way() {
    let fixture = ServiceFixture::enabled();
    for split in [0, 1, 31, 63, 64] {
        let msix = (0..split).map(|index| routed(0, index, 0, 0x51));
        let rest = (0..64 - split).map(|index| ims(0, index, 0, 0x52));
        let mapped = fixture.map(&msix.chain(rest).collect::<Vec<_>>());
        assert_eq!((mapped.status, fixture.features().irtes), (Status::OK, 64));
        assert_eq!(fixture.unmap(&mapped.records.iter().map(named).collect::<Vec<_>>()).status, Status::OK);
    }
    fixture.assert_baseline();
}

#[test]
fn ims_of_the_devices_own_shares_nothing() {
    // M11
    let fixture = ServiceFixture::enabled();
    let ims = (0..IMS).map(|index| ims(1, index, 0, 0x51));
    let asked: Vec<_> = (0..ENTRIES[1]).map(|index| routed(1, index, 0, 0x52)).chain(ims).collect();
    assert_eq!(fixture.map(&asked).status, Status::OK);
    assert_eq!(fixture.features().irtes, ENTRIES[1] + IMS);
}

#[test]
fn a_backing_that_does_not_stop_is_not_started_as_the_other() {
    // U3
    let fixture = ServiceFixture::enabled();
    let mapped = fixture.map(&[ims(0, 3, 0, 0x51)]).records[0];
    fixture.platform.lock().faults.fail_from(Some(CallKind::Stop), 0, libc::EIO);
    assert_eq!(statuses(&fixture.unmap(&[named(&mapped)]).records), [Status::DEVICE_ERROR]);
    let other = [routed(0, backing(3), 0, 0x52)];
    assert_eq!(statuses(&fixture.map(&other).records), [Status::DEVICE_ERROR]);
    fixture.platform.lock().faults.clear();
    assert_eq!(fixture.map(&other).status, Status::OK);
}

#[test]
fn the_history_has_what_the_host_counted_for_the_backing() {
    let fixture = ServiceFixture::enabled();
    fixture.map(&[ims(0, 3, 0, 0x51)]);
    (0..5).for_each(|_| fixture.platform.lock().raise(at(0, 3)));
    let record = fixture.service.history().remove(0);
    assert_eq!((record.irte.origin.store, record.irte.origin.index), (Store::IMS, 3));
    let host = record.host.unwrap();
    assert_eq!((host.store, host.index, host.count), (Store::MSIX, backing(3), Some(5)));
}
