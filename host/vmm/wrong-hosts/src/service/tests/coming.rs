//! What each change looks like to a guest whose device goes and comes again.

use super::*;
use pvir_abi::{AttachRecord, DeviceRecord, Features};
use pvir_host::service::Event;

/// A host on which a device with a mapped entry has gone, of which the guest has heard, and has come again. Answers also
/// with the entry's record, and with the epoch when it had gone.
fn come_again(wrong: impl Into<Option<Wrong>>) -> (Host, EntryRecord, u64) {
    let host = Host::with(wrong.into());
    let features = Service::FEATURES | Features::ATTACH;
    host.call(Operation::ENABLE, &[EnableRecord::request(features, Some(GuestPhysAddr(AREA)))]);
    assert_eq!(attach(&host), Status::OK);
    let entry = host.map(0);
    assert_eq!(entry.status, Status::OK);
    let (_, removed) = host.inner.remove_device(device()).unwrap();
    drop(removed);
    let (answer, records) = host.call(Operation::DEVICE_INFO, &[DeviceRecord::request(device())]);
    assert_eq!(records[0].status, Status::DEVICE_GONE);
    host.inner.add_device(device(), Box::new(FakeDevice::new(host.kernel.clone(), 0, ENTRIES))).unwrap();
    let (_, records) = host.call(Operation::DEVICE_INFO, &[DeviceRecord::request(device())]);
    assert_eq!(records[0].status, Status::OK);
    (host, entry, answer.epoch)
}

fn attach(host: &Host) -> Status {
    host.call(Operation::ATTACH, &[AttachRecord::request(device())]).1[0].status
}

fn look_up(host: &Host, entry: &EntryRecord) -> (Header, Status) {
    let (answer, records) = host.call(Operation::QUERY, &[bare(entry)]);
    (answer, records[0].status)
}

#[test]
fn on_the_honest_host_another_device_has_come_in_silence() {
    let (host, entry, epoch) = come_again(None);
    assert_eq!(host.map(0).status, Status::NOT_ATTACHED);
    assert_eq!(attach(&host), Status::OK);
    let (answer, status) = look_up(&host, &entry);
    assert_eq!((answer.epoch, status), (epoch, Status::STALE_HANDLE));
}

#[test]
fn what_comes_is_attached_at_once() {
    let (host, ..) = come_again(Wrong::ComesAttached);
    assert_eq!(host.map(0).status, Status::OK);
    assert_eq!(attach(&host), Status::OK);
}

#[test]
fn what_comes_raises_the_epoch_each_time() {
    let (host, entry, epoch) = come_again(Wrong::ComingIsAnEvent);
    assert_eq!(look_up(&host, &entry).0.epoch, epoch + 1);
    let raised = host.inner.raise(Event::StalePairs(None)).unwrap();
    assert_eq!(look_up(&host, &entry).0.epoch, raised.epoch.unwrap() + 1, "it never goes back");
}

#[test]
fn handles_of_the_device_before_stay_gone() {
    let (host, entry, _) = come_again(Wrong::GoneOutlasts);
    assert_eq!(attach(&host), Status::OK);
    assert_eq!(look_up(&host, &entry).1, Status::DEVICE_GONE);
    assert_eq!(host.map(0).status, Status::OK);
}
