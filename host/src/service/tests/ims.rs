//! IMS: the device's own, and made of its MSI-X entries.

use super::*;
use crate::fake::{Call, Kind};
use pvir_abi::EntryState;

fn at(number: u8, index: u32) -> Place {
    Place { device: number.into(), store: Store::IMS, index }
}

/// The MSI-X entry of device 0 that an IMS entry is made of.
fn backing(ims: u32) -> u32 {
    ENTRIES[0] - 1 - ims
}

#[test]
fn an_ims_entry_has_no_mask_and_arrives_as_routed() {
    // M1, M3, M8
    for number in [0, 1] {
        let bench = Bench::enabled();
        let record = bench.map(&[ims(number, 2, 300, 0x51)]).records[0];
        assert_eq!((record.status, record.state), (Status::OK, 0));
        assert_ne!((record.handle, record.address), (Handle::NONE, 0));
        bench.world.lock().raise(at(number, 2));
        assert_eq!(bench.delivered(), [(300, 0x51)]);
        bench.retarget(&[moved(&record, 1, 0x60)]);
        bench.world.lock().raise(at(number, 2));
        assert_eq!(bench.delivered(), [(1, 0x60)]);
        assert_eq!(bench.unmap(&[named(&record)]).status, Status::OK);
        bench.world.lock().raise(at(number, 2));
        assert_eq!(bench.delivered(), []);
        bench.assert_baseline();
    }
}

#[test]
fn what_is_raised_while_parked_is_held() {
    // M6
    let bench = Bench::enabled();
    let record = bench.map(&[EntryRecord::map_parked(device(0), Store::IMS, 2)]).records[0];
    assert_eq!(record.state, EntryState::PARKED.bits());
    (0..3).for_each(|_| bench.world.lock().raise(at(0, 2)));
    bench.retarget(&[moved(&record, 1, 0x60)]);
    assert_eq!(bench.delivered(), [(1, 0x60)]);
}

#[test]
fn a_run_of_either_store_is_one_start() {
    let bench = Bench::enabled();
    let both = (0..4).flat_map(|index| [ims(0, index, 0, 0x51), routed(0, index, 0, 0x52)]);
    assert_eq!(bench.map(&both.collect::<Vec<_>>()).status, Status::OK);
    let world = bench.world.lock();
    let starts: Vec<_> = world.calls().iter().filter(|call| call.kind() == Kind::Start).copied().collect();
    assert_eq!(starts, [Call::Start(place(0, 0), 4), Call::Start(at(0, 0), 4)]);
}

#[test]
fn an_entry_and_its_backing_exclude_each_other() {
    // M11
    let bench = Bench::enabled();
    let first = bench.map(&[ims(0, 3, 0, 0x51), routed(0, backing(4), 0, 0x52)]).records;
    let before = bench.state();
    let others = [routed(0, backing(3), 0, 0x51), parked(0, backing(3)), ims(0, 4, 0, 0x52)];
    assert_eq!(statuses(&bench.map(&others).records), [Status::BACKING_IN_USE; 3]);
    let queries = [query_of(0, backing(3)), EntryRecord::query(device(0), Store::IMS, 4)];
    assert_eq!(statuses(&bench.query(&queries).records), [Status::STALE_HANDLE; 2], "Q1");
    assert_eq!(bench.state(), before);
    assert_eq!(statuses(&bench.map(&[ims(0, 3, 1, 0x51)]).records), [Status::ALREADY_MAPPED]);
    bench.unmap(&first.iter().map(named).collect::<Vec<_>>());
    assert_eq!(bench.map(&others[1..]).status, Status::OK);
}

#[test]
fn in_one_call_the_first_of_two_that_share_wins() {
    // O4
    let bench = Bench::enabled();
    let two = [ims(0, 3, 0, 0x51), routed(0, backing(3), 0, 0x52)];
    for asked in [two, [two[1], two[0]]] {
        let whole = bench.call(Operation::MAP, CallFlags::ALL_OR_NOTHING, &asked);
        assert_eq!(statuses(&whole.records), [Status::ABORTED, Status::BACKING_IN_USE]);
        bench.assert_baseline();
        let each = bench.map(&asked).records;
        assert_eq!(statuses(&each), [Status::OK, Status::BACKING_IN_USE]);
        bench.unmap(&[named(&each[0])]);
    }
}

#[test]
fn the_whole_table_can_be_had_in_either_way() {
    let bench = Bench::enabled();
    for split in [0, 1, 31, 63, 64] {
        let msix = (0..split).map(|index| routed(0, index, 0, 0x51));
        let rest = (0..64 - split).map(|index| ims(0, index, 0, 0x52));
        let mapped = bench.map(&msix.chain(rest).collect::<Vec<_>>());
        assert_eq!((mapped.status, bench.features().irtes), (Status::OK, 64));
        assert_eq!(bench.unmap(&mapped.records.iter().map(named).collect::<Vec<_>>()).status, Status::OK);
    }
    bench.assert_baseline();
}

#[test]
fn ims_of_the_devices_own_shares_nothing() {
    // M11
    let bench = Bench::enabled();
    let ims = (0..IMS).map(|index| ims(1, index, 0, 0x51));
    let asked: Vec<_> = (0..ENTRIES[1]).map(|index| routed(1, index, 0, 0x52)).chain(ims).collect();
    assert_eq!(bench.map(&asked).status, Status::OK);
    assert_eq!(bench.features().irtes, ENTRIES[1] + IMS);
}

#[test]
fn a_backing_that_does_not_stop_is_not_started_as_the_other() {
    // U3
    let bench = Bench::enabled();
    let mapped = bench.map(&[ims(0, 3, 0, 0x51)]).records[0];
    bench.world.lock().faults.fail_from(Some(Kind::Stop), 0, libc::EIO);
    assert_eq!(statuses(&bench.unmap(&[named(&mapped)]).records), [Status::DEVICE_ERROR]);
    let other = [routed(0, backing(3), 0, 0x52)];
    assert_eq!(statuses(&bench.map(&other).records), [Status::DEVICE_ERROR]);
    bench.world.lock().faults.clear();
    assert_eq!(bench.map(&other).status, Status::OK);
}

#[test]
fn the_history_has_what_the_host_counted_for_the_backing() {
    let bench = Bench::enabled();
    bench.map(&[ims(0, 3, 0, 0x51)]);
    (0..5).for_each(|_| bench.world.lock().raise(at(0, 3)));
    let record = bench.service.history().remove(0);
    assert_eq!((record.irte.origin.store, record.irte.origin.index), (Store::IMS, 3));
    let host = record.host.unwrap();
    assert_eq!((host.store, host.index, host.count), (Store::MSIX, backing(3), Some(5)));
}
