//! Where nothing is wrong the guest cannot tell that there is an interposer.

use super::*;
use pvir_abi::{Handle, MAX_RECORDS};

/// Calls both hosts in the same way: all of RAM, and what the conduits say, is the same afterwards.
struct Both([Host; 2]);

impl Both {
    fn call_at<R: IntoBytes + Immutable>(&self, at: u64, cpl: u8, header: &Header, records: &[R]) -> Status {
        let [bare, interposed] = self.0.each_ref().map(|host| {
            if host.ram.is_ram(GuestPhysAddr(at), 64 + size_of_val(records)) {
                host.write(at, header, records);
            }
            let status = host.service.call(1, cpl, GuestPhysAddr(at));
            assert_eq!(host.service.last_status(1), status);
            let mut ram = vec![0; RAM];
            host.ram.read_slice(&mut ram, GuestAddress(0)).unwrap();
            (status, ram)
        });
        assert_eq!(bare.0, interposed.0);
        assert!(bare.1 == interposed.1, "{header:?}: RAM differs");
        bare.0
    }

    fn call<R: IntoBytes + Immutable>(&self, operation: Operation, records: &[R]) -> Status {
        self.call_at(BLOCK, 0, &header(operation, records.len()), records)
    }
}

fn both() -> Both {
    Both([Host::bare(), Host::with(None)])
}

fn enabled() -> Both {
    let both = both();
    let asked = EnableRecord::request(Service::FEATURES, Some(GuestPhysAddr(AREA)));
    assert_eq!(both.call(Operation::ENABLE, &[asked]), Status::OK);
    both
}

#[test]
fn what_is_refused_as_a_whole_is_refused_in_the_same_way() {
    let both = both();
    let features = [FeaturesRecord::request()];
    let good = header(Operation::FEATURES, 1);
    assert_eq!(both.call_at(BLOCK, 3, &good, &features), Status::PRIVILEGE);
    assert_eq!(both.call_at(BLOCK + 64, 0, &good, &features), Status::UNALIGNED);
    assert_eq!(both.call_at(RAM as u64, 0, &good, &features), Status::BAD_ADDRESS);
    assert_eq!(both.call_at(u64::MAX - 4095, 0, &good, &features), Status::BAD_ADDRESS);
    assert_eq!(both.call_at(BLOCK, 0, &Header { magic: 1, ..good }, &features), Status::BAD_MAGIC);
    assert_eq!(both.call_at(BLOCK, 0, &Header { count: u32::MAX, ..good }, &features), Status::BAD_COUNT);
    assert_eq!(both.call(Operation::MAP, &[map(0)]), Status::NOT_ENABLED);
    let enabled = enabled();
    let many = header(Operation::QUERY, MAX_RECORDS as usize);
    assert_eq!(enabled.call_at(RAM as u64 - 4096, 0, &many, &features), Status::BAD_ADDRESS);
}

#[test]
fn what_is_carried_out_is_carried_out_in_the_same_way() {
    let both = enabled();
    assert_eq!(both.call(Operation::FEATURES, &[FeaturesRecord::request()]), Status::OK);
    assert_eq!(both.call(Operation::MAP, &[map(0), map(99), map(1)]), Status::PARTIAL);
    let whole = Header { flags: CallFlags::ALL_OR_NOTHING.bits(), ..header(Operation::MAP, 2) };
    assert_eq!(both.call_at(BLOCK, 0, &whole, &[map(2), map(99)]), Status::ABORTED);
    let handle = Handle::new(0, 1);
    let there = EntryRecord { handle, routing: X86Route::fixed(0, 0x60).into(), ..map(0) };
    assert_eq!(both.call(Operation::RETARGET, &[there]), Status::OK);
    assert_eq!(both.call(Operation::QUERY, &[bare(&there), bare(&map(5))]), Status::PARTIAL);
    assert_eq!(both.call(Operation::UNMAP, &[bare(&there), bare(&there)]), Status::PARTIAL);
    assert_eq!(both.call::<EntryRecord>(Operation::DISABLE, &[]), Status::OK);
    assert_eq!(both.call::<EntryRecord>(Operation::DISABLE, &[]), Status::NOT_ENABLED);
}
