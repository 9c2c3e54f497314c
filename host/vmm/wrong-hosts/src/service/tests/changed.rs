//! What each change looks like to the guest.

use super::*;
use pvir_abi::{EntryState, EventArea, Features};
use pvir_host::fake::{BackendCall, Entry};
use pvir_host::service::Event;

#[test]
fn reserved_bytes_are_overlooked_and_come_back() {
    let host = Host::with(Some(Wrong::ReservedIgnored));
    let asked = Header { reserved: [0, 7, 0, 0], ..header(Operation::FEATURES, 1) };
    let (answer, _) = host.call_with(&asked, &[FeaturesRecord::request()]);
    assert_eq!((answer.status, answer.reserved), (Status::OK, asked.reserved));
}

#[test]
fn any_feature_is_granted() {
    let host = Host::with(Some(Wrong::AnyFeature));
    let features = Service::FEATURES | Features::from_bits_retain(1 << 40);
    let (answer, records) = host.call(Operation::ENABLE, &[EnableRecord::request(features, None)]);
    assert_eq!((answer.status, records[0].features), (Status::OK, features.bits()));
}

#[test]
fn a_bad_routing_is_taken_and_comes_back() {
    for (wrong, routing) in [
        (Wrong::VectorFive, X86Route::fixed(1, 5).into()),
        (Wrong::BroadcastTaken, X86Route::fixed(u32::MAX, 0x50).into()),
    ] {
        let host = Host::enabled(wrong);
        let (answer, records) = host.call(Operation::MAP, &[EntryRecord { routing, ..map(0) }]);
        assert_eq!((answer.status, records[0].routing), (Status::OK, routing), "{wrong:?}");
    }
}

#[test]
fn an_unaligned_block_is_served_where_it_lies() {
    let host = Host::with(Some(Wrong::UnalignedBlock));
    host.write(BLOCK + 64, &header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
    assert_eq!(host.service.call(0, 0, GuestPhysAddr(BLOCK + 64)), Status::OK);
    assert_eq!(host.read::<Header>(BLOCK + 64).status, Status::OK);
}

#[test]
fn the_conduit_alone_says_ok() {
    let host = Host::with(Some(Wrong::StatusDiffers));
    host.write(BLOCK, &Header { magic: 1, ..header(Operation::FEATURES, 0) }, &[FeaturesRecord::request()]);
    assert_eq!(host.service.call(0, 0, GuestPhysAddr(BLOCK)), Status::OK);
    assert_eq!(host.service.last_status(0), Status::OK);
    assert_eq!(host.read::<Header>(BLOCK).status, Status::BAD_MAGIC);
}

#[test]
fn a_failed_call_has_done_something() {
    let host = Host::with(Some(Wrong::DoneOfFailed));
    let (answer, _) = host.call(Operation::MAP, &[map(0)]);
    assert_eq!((answer.status, answer.done), (Status::NOT_ENABLED, 1));
}

#[test]
fn what_is_wrong_in_an_answer_of_map() {
    let partial = |wrong| {
        let host = Host::enabled(wrong);
        host.call(Operation::MAP, &[map(0), map(99), map(0)])
    };
    assert_eq!(partial(Wrong::DoneCountsFailed).0.done, 3);
    assert_eq!(partial(Wrong::PartialIsOk).0.status, Status::OK);
    assert_eq!(partial(Wrong::EpochMissing).0.epoch, 0);
    assert_eq!(partial(Wrong::InFieldChanged).1[0].index, 1);
    assert_ne!(partial(Wrong::FailedHasPair).1[1].address, 0);
    assert_eq!(partial(Wrong::ExistingUnsaid).1[2].state & EntryState::EXISTING.bits(), 0);
}

#[test]
fn retarget_and_query_do_not_say_what_map_said() {
    let host = Host::enabled(Wrong::RetargetNewPair);
    let entry = host.map(0);
    let there = EntryRecord { handle: entry.handle, ..map(0) };
    assert_ne!(host.call(Operation::RETARGET, &[there]).1[0].pair(), entry.pair());
    let host = Host::enabled(Wrong::QueryForgets);
    let entry = host.map(0);
    assert_ne!(host.call(Operation::QUERY, &[bare(&entry)]).1[0].routing, entry.routing);
}

#[test]
fn one_retarget_too_many_is_refused() {
    let host = Host::enabled(Wrong::OneRetargetRefused);
    let there = EntryRecord { handle: host.map(0).handle, ..map(0) };
    let status = || host.call(Operation::RETARGET, &[there]).0.status;
    assert!((0..32).all(|_| status() == Status::OK));
    assert_eq!(status(), Status::RATE_LIMITED);
}

#[test]
fn an_aborted_map_is_not_undone() {
    let host = Host::enabled(Wrong::NotUndone);
    let whole = Header { flags: CallFlags::ALL_OR_NOTHING.bits(), ..header(Operation::MAP, 2) };
    let (answer, records) = host.call_with(&whole, &[map(0), map(99)]);
    assert_eq!((answer.status, answer.done), (Status::ABORTED, 0));
    assert_eq!([records[0].status, records[1].status], [Status::ABORTED, Status::BAD_INDEX]);
    assert_eq!((answer.flags, records[0].address, host.features().irtes), (whole.flags, 0, 1));
}

#[test]
fn unmap_leaves_the_entry_and_no_handle() {
    let host = Host::enabled(Wrong::PairLeftAlive);
    let given = bare(&host.map(0));
    let (answer, records) = host.call(Operation::UNMAP, &[given]);
    assert_eq!((answer.status, answer.operation), (Status::OK, Operation::UNMAP));
    assert_eq!(records[0], EntryRecord { status: Status::OK, ..given });
    assert_eq!(host.features().irtes, 1);
    assert_eq!(host.call(Operation::QUERY, &[given]).1[0].status, Status::STALE_HANDLE);
    let again = host.call(Operation::UNMAP, &[given]).1[0];
    assert_eq!((again.status, again.handle), (Status::STALE_HANDLE, given.handle));
}

#[test]
fn query_gives_back_what_it_finds() {
    let host = Host::enabled(Wrong::QueryChangesState);
    let given = bare(&host.map(0));
    assert_eq!(host.call(Operation::QUERY, &[given]).1[0].status, Status::OK);
    assert_eq!(host.features().irtes, 0);
}

#[test]
fn the_handle_of_a_slot_is_the_same_again_and_works() {
    let host = Host::enabled(Wrong::HandleAgain);
    let first = host.map(0).handle;
    assert_eq!(host.call(Operation::UNMAP, &[bare(&map(0)).with_handle(first)]).0.status, Status::OK);
    assert_eq!(host.map(0).handle, first);
    assert_eq!(host.call(Operation::UNMAP, &[bare(&map(0)).with_handle(first)]).0.status, Status::OK);
}

#[test]
fn an_old_handle_names_the_entry_that_has_its_slot() {
    let host = Host::enabled(Wrong::GenerationIgnored);
    let old = bare(&host.map(0));
    assert_eq!(host.call(Operation::UNMAP, &[old]).0.status, Status::OK);
    assert_eq!(host.call(Operation::QUERY, &[old]).1[0].status, Status::STALE_HANDLE);
    assert_ne!(host.map(0).handle, old.handle);
    assert_eq!(host.call(Operation::QUERY, &[old]).1[0].status, Status::OK);
}

#[test]
fn a_second_enable_begins_another_session() {
    let host = Host::enabled(Wrong::EnabledTwice);
    host.map(0);
    assert_eq!((host.enable().0.status, host.features().irtes), (Status::OK, 0));
}

#[test]
fn every_session_has_one_epoch() {
    let host = Host::enabled(Wrong::EpochNotRaised);
    host.call::<EntryRecord>(Operation::DISABLE, &[]);
    assert_eq!((host.enable().0.epoch, host.read::<EventArea>(AREA).epoch), (1, 1));
}

#[test]
fn disable_keeps_the_entries_for_the_next_session() {
    let host = Host::enabled(Wrong::DisableKeeps);
    let kept = bare(&host.map(0));
    let (answer, _) = host.call::<EntryRecord>(Operation::DISABLE, &[]);
    assert_eq!((answer.status, answer.epoch), (Status::OK, 0));
    assert_eq!((host.features().enabled, host.features().irtes), (0, 1));
    assert_eq!(host.enable().0.status, Status::OK);
    assert_eq!(host.call(Operation::QUERY, &[kept]).1[0].status, Status::OK);
}

#[test]
fn the_event_area_stays_as_it_was() {
    let host = Host::enabled(Wrong::AreaNotWritten);
    assert_eq!(host.read::<EventArea>(AREA).epoch, 0);
}

#[test]
fn a_byte_behind_the_block_is_written() {
    let host = Host::with(Some(Wrong::BlockOverrun));
    host.features();
    assert_eq!(host.read::<[u8; 2]>(BLOCK + 128), [1, 0]);
}

#[test]
fn the_header_is_read_once_more_before_the_records() {
    let ram = Host::ram();
    let memory = WrongMemory { ram: ram.clone(), wrong: Some(Wrong::HeaderReadTwice) };
    ram.write_slice(header(Operation::QUERY, 1).as_bytes(), GuestAddress(BLOCK)).unwrap();
    assert!(memory.read(GuestPhysAddr(BLOCK + 64), &mut [0; 64]).is_ok());
    ram.write_slice(header(Operation::QUERY, 1 << 24).as_bytes(), GuestAddress(BLOCK)).unwrap();
    assert!(memory.read(GuestPhysAddr(BLOCK + 64), &mut [0; 64]).is_err());
}

#[test]
fn the_port_is_taken_at_any_width() {
    let wide = |wrong| [1, 2, 4].map(|bytes| Host::with(wrong).service.takes_port_access(bytes));
    assert_eq!(wide(Some(Wrong::NarrowPort)), [true; 3]);
    assert_eq!(wide(None), [false, false, true]);
}

#[test]
fn pairs_are_those_of_other_entries() {
    let pairs = |wrong: Option<Wrong>| {
        let host = Host::enabled(wrong);
        [host.map(0).pair(), host.map(1).pair()]
    };
    let [first, second] = pairs(None);
    assert_eq!(pairs(Some(Wrong::OnePairForAll)), [first, first]);
    let others = pairs(Some(Wrong::PairOfAnotherEntry));
    assert!(others[0] != first && others[1] != second);
}

/// How many interrupts come of one that is raised while its entry is parked.
fn delivered_from_parked(wrong: Option<Wrong>) -> usize {
    let host = Host::enabled(wrong);
    let parked = EntryRecord::map_parked(device(), Store::MSIX, 0);
    let handle = host.call(Operation::MAP, &[parked]).1[0].handle;
    let entry = Entry { device: 0, store: Store::MSIX, index: 0 };
    host.kernel.lock().guest_masks(entry, false);
    host.kernel.lock().raise(entry);
    host.call(Operation::RETARGET, &[map(0).with_handle(handle)]);
    let delivered = host.kernel.lock().take_deliveries();
    delivered.len()
}

#[test]
fn what_is_raised_while_parked_is_lost() {
    assert_eq!(delivered_from_parked(None), 1);
    assert_eq!(delivered_from_parked(Some(Wrong::ParkedLost)), 0);
}

#[test]
fn an_entry_that_moves_has_no_irqfd_for_a_while() {
    let host = Host::enabled(Wrong::LostInRetarget);
    let entry = host.map(0);
    host.kernel.lock().expect(None);
    let there = EntryRecord { routing: X86Route::fixed(0, 0x60).into(), ..map(0) };
    host.call(Operation::RETARGET, &[there.with_handle(entry.handle)]);
    let calls = host.kernel.lock().calls().to_vec();
    assert_eq!(
        calls,
        [BackendCall::Detach(FIRST_GSI), BackendCall::SetRoutes(1), BackendCall::Attach(FIRST_GSI)]
    );
}

#[test]
fn what_a_later_list_of_wrong_hosts_answers() {
    let host = Host::enabled(Wrong::DeviceTooMany);
    assert_eq!(host.features().devices, 2);
    let host = Host::enabled(Wrong::VectorFirst);
    let bad = EntryRecord { routing: X86Route::fixed(1, 5).into(), index: u32::MAX, ..map(0) };
    assert_eq!(host.call(Operation::MAP, &[bad]).1[0].status, Status::BAD_VECTOR);
    let host = Host::enabled(Wrong::EndsRefused);
    for vector in [0x20, 0xff] {
        let end = EntryRecord { routing: X86Route::fixed(1, vector).into(), ..map(0) };
        let (_, records) = host.call(Operation::MAP, &[end]);
        assert_eq!((records[0].status, records[0].routing), (Status::BAD_VECTOR, end.routing));
    }
    let host = Host::with(Some(Wrong::OfferedRefused));
    let without = Service::FEATURES.difference(Features::MSIX | Features::EPOCH);
    let (answer, records) = host.call(Operation::ENABLE, &[EnableRecord::request(without, None)]);
    assert_eq!((answer.status, records[0].features), (Status::UNSUPPORTED_FEATURE, without.bits()));
}

#[test]
fn a_handle_comes_again_after_all_others() {
    let host = Host::enabled(Wrong::HandlesInTurn);
    let mut seen = Vec::new();
    while !seen.contains(&host.map(0).handle) {
        let handle = host.map(0).handle;
        seen.push(handle);
        let bare = EntryRecord::query(device(), Store::MSIX, 0).with_handle(handle);
        assert_eq!(host.call(Operation::UNMAP, &[bare]).0.status, Status::OK);
    }
    assert!(seen.len() > 64, "{} handles", seen.len());
}

#[test]
fn what_resolves_alike_is_existing_and_the_lowest_is_chosen() {
    let logical = |destination, vector| {
        let routing = X86Route::fixed(destination, vector).into();
        pvir_abi::Routing { destination_mode: 1, hint: 1, ..routing }
    };
    let host = Host::enabled(Wrong::ResolvesAlike);
    let first = host.map(0);
    let alike = EntryRecord { routing: logical(1, first.routing.vector), ..map(0) };
    let (answer, records) = host.call(Operation::MAP, &[alike]);
    assert_eq!((answer.status, records[0].handle), (Status::OK, first.handle));
    let host = Host::enabled(Wrong::LowestMember);
    let both = EntryRecord { routing: logical(3, 0x51), ..map(0) };
    let (_, records) = host.call(Operation::MAP, &[both]);
    let bare = EntryRecord::query(device(), Store::MSIX, 0).with_handle(records[0].handle);
    let held = host.call(Operation::QUERY, &[bare]).1[0];
    assert_eq!((records[0].status, held.routing), (Status::OK, both.routing));
}

#[test]
fn a_vcpu_is_told_of_another_ones_call() {
    let host = Host::with(Some(Wrong::StatusOfAnother));
    host.write(BLOCK, &Header { magic: 1, ..header(Operation::FEATURES, 1) }, &[FeaturesRecord::request()]);
    assert_eq!(host.service.call(1, 0, GuestPhysAddr(BLOCK)), Status::BAD_MAGIC);
    assert_eq!(host.service.last_status(0), Status::BAD_MAGIC);
}

#[test]
fn the_answers_about_a_device_that_is_away_are_others() {
    let host = Host::enabled(Wrong::GoneIsUnknown);
    host.inner.raise(Event::DeviceGone(device())).unwrap();
    let (_, records) = host.call(Operation::MAP, &[map(0)]);
    assert_eq!(records[0].status, Status::NO_DEVICE);
    let host = Host::enabled(Wrong::CutOffHasNoGsi);
    host.inner.raise(Event::DeviceCutOff(device())).unwrap();
    let (_, records) = host.call(Operation::MAP, &[map(0)]);
    assert_eq!(records[0].status, Status::NO_GSI);
}

#[test]
fn a_stale_handle_is_still_known() {
    let host = Host::enabled(Wrong::StaleKnown);
    let (_, records) = host.call(Operation::MAP, &[map(0)]);
    host.inner.raise(Event::StalePairs(None)).unwrap();
    let (_, records) = host.call(Operation::QUERY, &[bare(&records[0])]);
    assert_eq!(records[0].status, Status::OK);
}

#[test]
fn an_event_does_not_reach_the_area() {
    let host = Host::enabled(Wrong::AreaStuck);
    let before = host.read::<EventArea>(AREA);
    host.inner.raise(Event::StalePairs(None)).unwrap();
    assert_eq!(host.read::<EventArea>(AREA).as_bytes(), before.as_bytes());
    let host = Host::enabled(Wrong::AreaLate);
    let before = host.read::<EventArea>(AREA).epoch;
    host.inner.raise(Event::StalePairs(None)).unwrap();
    assert_eq!(host.read::<EventArea>(AREA).epoch, before);
}
