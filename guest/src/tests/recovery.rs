//! What the driver says and does after events.

use super::*;
use crate::fake::FakeMachine;
use crate::{Advice, Entry, Error, Live, MsixEntry, MsixTable, ReacquireFailed, Reacquired};
use pvir_abi::{EventReason, Handle, Status};
use std::vec::Vec;

type LiveEntry<'a> = Entry<MsixEntry<&'a FakeMachine>, Live>;

fn live<'a>(
    remapping: &Remapping<FakeHost>,
    table: &MsixTable<&'a FakeMachine>,
    index: u32,
) -> LiveEntry<'a> {
    let irte = remapping.map(msix(index)).unwrap();
    table.claim(index).unwrap().program(irte).unwrap().unmask()
}

#[test]
fn what_has_happened_to_others_takes_no_call() {
    let (host, remapping) = enabled();
    let mut irte = remapping.map(msix(0)).unwrap();
    let calls = host.calls().len();
    assert_eq!(remapping.advise(&mut irte), Ok(Advice::GoOn));
    for _ in 0..3 {
        host.raise_event(EventReason::STALE_PAIRS, Some(OTHER));
        assert_eq!(remapping.advise(&mut irte), Ok(Advice::GoOn));
        assert_eq!(irte.epoch(), remapping.epoch());
    }
    assert_eq!(host.calls().len(), calls);
    // Two at once: one was overwritten.
    host.raise_event(EventReason::STALE_PAIRS, Some(OTHER));
    host.raise_event(EventReason::STALE_PAIRS, Some(OTHER));
    assert_eq!(remapping.advise(&mut irte), Ok(Advice::GoOn));
    assert_eq!((host.calls().len(), irte.epoch()), (calls + 1, remapping.epoch()));
}

#[test]
fn each_reason_has_its_advice_and_the_same_again() {
    let reasons = [
        (EventReason::STALE_PAIRS, Advice::Reacquire),
        (EventReason::DEVICE_GONE, Advice::Forget),
        (EventReason::DEVICE_CUT_OFF, Advice::ResetDevice),
        // Of a later version: what is done about it follows from the handle.
        (EventReason(77), Advice::Reacquire),
    ];
    for (reason, advice) in reasons {
        let (host, remapping) = enabled();
        let mut irte = remapping.map(msix(0)).unwrap();
        host.raise_event(reason, Some(DEVICE));
        host.raise_event(EventReason::STALE_PAIRS, Some(OTHER));
        assert_eq!(remapping.advise(&mut irte), Ok(advice), "{reason:?}, overwritten");
        assert_eq!(remapping.advise(&mut irte), Ok(advice), "{reason:?}, again");
    }
}

#[test]
fn without_an_event_area_the_host_is_asked() {
    let host = host();
    let remapping = negotiated(&host, 4).enable(EnableOptions::new(Features::MSIX)).unwrap();
    let mut irte = remapping.map(msix(0)).unwrap();
    assert_eq!(remapping.advise(&mut irte), Ok(Advice::GoOn));
    host.raise_event(EventReason::STALE_PAIRS, None);
    assert_eq!(remapping.advise(&mut irte), Ok(Advice::Reacquire));
}

#[test]
fn a_status_that_says_nothing_of_the_device_is_no_advice() {
    let (host, remapping) = enabled();
    let mut irte = remapping.map(msix(0)).unwrap();
    host.raise_event(EventReason::STALE_PAIRS, None);
    host.tamper(|bytes, status| {
        bytes[16..20].copy_from_slice(&Status::RATE_LIMITED.0.to_le_bytes());
        bytes[20..24].copy_from_slice(&[0; 4]);
        *status = Status::RATE_LIMITED;
    });
    assert!(matches!(remapping.advise(&mut irte), Err(Error::Status { .. })));
    host.be_honest();
    assert_eq!(remapping.advise(&mut irte), Ok(Advice::Reacquire));
}

#[test]
fn an_entry_is_taken_again_and_raised_once() {
    let (host, remapping) = enabled();
    let machine = FakeMachine::new(DEVICE, 8);
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    let entry = live(&remapping, &table, 3);
    let (handle, pair) = (entry.irte().handle(), entry.irte().pair());
    host.raise_event(EventReason::STALE_PAIRS, Some(DEVICE));
    let mut raised = Vec::new();
    let again = remapping.reacquire(entry).unwrap();
    assert!(!machine.is_masked(3));
    let mut entry = again.raise_once(|entry| raised.push(entry.origin().index));
    assert_eq!(raised, [3]);
    assert_ne!((entry.irte().handle(), entry.irte().pair()), (handle, pair));
    assert_eq!(machine.pair(3), entry.irte().pair());
    assert_eq!(entry.irte().target(), Target::fixed(1, 0x51));
    assert_eq!(remapping.advise(&mut entry), Ok(Advice::GoOn));
}

#[test]
fn an_irte_that_is_alive_stays_the_entrys() {
    let (host, remapping) = enabled();
    let machine = FakeMachine::new(DEVICE, 8);
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    let entry = live(&remapping, &table, 3);
    let handle: Handle = entry.irte().handle();
    let entry = remapping.reacquire(entry).unwrap().raise_once(|_| ());
    assert_eq!((entry.irte().handle(), host.held()), (handle, 1));
}

#[test]
fn what_was_not_raised_is_masked() {
    let (host, remapping) = enabled();
    let machine = FakeMachine::new(DEVICE, 8);
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    let entry = live(&remapping, &table, 3);
    host.raise_event(EventReason::STALE_PAIRS, Some(DEVICE));
    let again: Reacquired<_> = remapping.reacquire(entry).unwrap();
    drop(again);
    assert!(machine.is_masked(3));
}

#[test]
fn a_recovery_that_fails_goes_on_where_it_stood() {
    let (host, remapping) = enabled();
    let machine = FakeMachine::new(DEVICE, 8);
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    let entry = live(&remapping, &table, 3);
    host.raise_event(EventReason::DEVICE_CUT_OFF, Some(DEVICE));
    let failed = remapping.reacquire(entry).unwrap_err();
    let ReacquireFailed::NotMapped { entry, target, error } = failed else { panic!("{failed}") };
    assert!(matches!(error, Error::Entry { status, .. } if status.status() == Status::DEVICE_CUT_OFF));
    assert!(machine.is_masked(3));
    host.readmit(DEVICE);
    let entry = remapping.reacquire_masked(entry, target).unwrap().raise_once(|_| ());
    assert_eq!((entry.irte().target(), machine.is_masked(3)), (Target::fixed(1, 0x51), false));
}

#[test]
fn a_second_event_during_the_recovery_is_seen_afterwards() {
    let (host, remapping) = enabled();
    let machine = FakeMachine::new(DEVICE, 8);
    let table = MsixTable::open(&machine, DEVICE).unwrap();
    let entry = live(&remapping, &table, 3);
    host.raise_event(EventReason::STALE_PAIRS, Some(DEVICE));
    let again = remapping.reacquire(entry).unwrap();
    host.raise_event(EventReason::STALE_PAIRS, Some(DEVICE));
    let mut entry = again.raise_once(|_| ());
    assert_eq!(remapping.advise(&mut entry), Ok(Advice::Reacquire));
}
