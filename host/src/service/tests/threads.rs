//! Several vCPUs at once.

use super::*;
use std::thread;

const VCPUS: u32 = 4;
const ROUNDS: u32 = 100;

/// One call with a block of its own; order is checked at the end.
fn call(
    fixture: &ServiceFixture,
    vcpu: u32,
    operation: Operation,
    records: &[EntryRecord],
) -> Vec<EntryRecord> {
    let count = u32::try_from(records.len()).unwrap();
    let header = Header::request(Version::V1, operation, CallFlags::empty(), count);
    let answer = fixture.send_at(u64::from(vcpu) * 0x1_0000 + 0x4000, header, records);
    assert_eq!(answer.status, answer.header.status);
    answer.records
}

fn work(fixture: &ServiceFixture, vcpu: u32) {
    let own = vcpu * 8..vcpu * 8 + 8;
    for round in 0..ROUNDS {
        // Entry 63 is shared by all threads.
        let asked: Vec<_> = batch(own.clone()).into_iter().chain([routed(0, 63, 0, 0x40)]).collect();
        let mapped = call(fixture, vcpu, Operation::MAP, &asked);
        assert!(mapped[..8].iter().all(|r| r.status == Status::OK), "{:?}", statuses(&mapped));
        let to = |entry: &EntryRecord| if round % 2 == 0 { park(entry) } else { moved(entry, 1, 0x99) };
        let to: Vec<_> = mapped[..8].iter().map(to).collect();
        let retargeted = call(fixture, vcpu, Operation::RETARGET, &to);
        assert!(retargeted.iter().zip(&mapped).all(|(new, old)| new.pair() == old.pair()));
        let looked = call(fixture, vcpu, Operation::QUERY, &[query_of(0, own.start)]);
        assert_eq!(looked[0].handle, mapped[0].handle);
        let unmapped = call(fixture, vcpu, Operation::UNMAP, &mapped.iter().map(named).collect::<Vec<_>>());
        assert!(unmapped[..8].iter().all(|r| r.status == Status::OK));
    }
}

#[test]
fn vcpus_that_call_at_the_same_time_each_get_their_own() {
    // C6
    let fixture = ServiceFixture::enabled();
    fixture.platform.lock().expect(None);
    thread::scope(|scope| {
        for vcpu in 0..VCPUS {
            let fixture = &fixture;
            scope.spawn(move || work(fixture, vcpu));
        }
    });
    fixture.assert_order();
    fixture.assert_baseline();
    let calls = fixture.service.statistics();
    assert_eq!(calls.operations["MAP"], u64::from(VCPUS * ROUNDS));
}
