//! Where a block may lie, and who may call.

use super::*;
use zerocopy::FromZeros;

fn header(count: u32) -> Header {
    Header::request(Version::V1, Operation::DEVICE_INFO, CallFlags::empty(), count)
}

#[test]
fn every_unaligned_address_is_refused_unread() {
    // B1, C3
    let fixture = ServiceFixture::new();
    fixture.ram.write_slice(header(1).as_bytes(), GuestAddress(BLOCK)).unwrap();
    for offset in (1..4096).filter(|offset| offset % 64 <= 1) {
        assert_eq!(fixture.service.call(0, 0, GuestPhysAddr(BLOCK + offset)), Status::UNALIGNED);
    }
}

#[test]
fn addresses_outside_of_ram_are_refused() {
    // B1
    let fixture = ServiceFixture::new();
    for at in [0x6_0000, 0x7_f000, 0x9_0000, 0xfee0_0000, 1 << 44, 1 << 52, 1 << 63, u64::MAX - 0xfff] {
        assert_eq!(fixture.service.call(0, 0, GuestPhysAddr(at)), Status::BAD_ADDRESS, "{at:#x}");
    }
}

#[test]
fn a_block_that_leaves_its_range_of_ram_is_refused_and_told_so() {
    // B1, B4: the header could be reached, so it carries the status.
    let fixture = ServiceFixture::new();
    for (at, what) in
        [(0x5_f000, "into the hole"), (0x4_f000, "into the next range"), (0x8_f000, "past the end")]
    {
        fixture.ram.write_slice(header(64).as_bytes(), GuestAddress(at)).unwrap();
        let status = fixture.service.call(0, 0, GuestPhysAddr(at));
        let mut answered = Header::new_zeroed();
        fixture.ram.read_slice(answered.as_mut_bytes(), GuestAddress(at)).unwrap();
        assert_eq!(status, Status::BAD_ADDRESS, "{what}");
        assert_eq!(answered, Header { status, ..header(64) }, "{what}");
    }
}

#[test]
fn a_block_that_just_fits_is_served() {
    let fixture = ServiceFixture::new();
    let asked = [DeviceRecord::request(device(0)); 63];
    for at in [0x5_f000, 0x8_f000, 0] {
        let answer = fixture.send_at(at, header(63), &asked);
        assert_eq!((answer.status, answer.header.done), (Status::OK, 63), "{at:#x}");
    }
}

#[test]
fn only_ring_0_may_call() {
    // C4, C3
    let fixture = ServiceFixture::enabled();
    let before = fixture.state();
    let asked = header(1);
    fixture.ram.write_slice(asked.as_bytes(), GuestAddress(BLOCK)).unwrap();
    for cpl in [1, 2, 3, 255] {
        assert_eq!(fixture.service.call(0, cpl, GuestPhysAddr(BLOCK)), Status::PRIVILEGE, "CPL {cpl}");
        assert_eq!(fixture.service.last_status(0), Status::PRIVILEGE);
    }
    let mut left = Header::new_zeroed();
    fixture.ram.read_slice(left.as_mut_bytes(), GuestAddress(BLOCK)).unwrap();
    assert_eq!(left, asked);
    assert_eq!(fixture.state(), before);
}
