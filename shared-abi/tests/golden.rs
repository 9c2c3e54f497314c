//! Golden bytes: the examples of `docs/abi.md`, section 12, written by hand from its tables, against what the code makes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use pvir_abi::*;
use zerocopy::{FromBytes, IntoBytes};

const PAGE: &str = include_str!("../docs/abi.md");

fn golden(name: &str) -> Vec<u8> {
    let after = PAGE.split_once(&format!("<!-- golden: {name} -->")).unwrap().1;
    let hex = after.split("```").nth(1).unwrap();
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn device() -> DeviceId {
    DeviceId::new(0, Bdf::new(0, 1, 0).unwrap())
}

fn map_request() -> EntryRecord {
    EntryRecord::map(device(), Store::MSIX, 3, X86Route::fixed(300, 0x51).into())
}

#[test]
fn header_of_a_map() {
    let header = Header::request(Version::V1, Operation::MAP, CallFlags::ALL_OR_NOTHING, 2);
    assert_eq!(header.as_bytes(), golden("header_map_2"));
}

#[test]
fn entry_of_a_map() {
    assert_eq!(map_request().as_bytes(), golden("entry_map_request"));
}

#[test]
fn answer_of_a_map() {
    let answer = EntryRecord::read_from_bytes(&golden("entry_map_answer")).unwrap();
    let expected = EntryRecord {
        status: Status::OK,
        handle: Handle::new(5, 1),
        address: 0xfee0_0298,
        data: 0,
        state: EntryState::MASKED.bits(),
        ..map_request()
    };
    assert_eq!(answer, expected);
    assert_eq!(answer.pair().intel_index(), Some(20));
}

#[test]
fn record_of_an_enable() {
    let record = EnableRecord::request(Features::MSIX | Features::EPOCH, Some(GuestPhysAddr(0x1020_3040)));
    assert_eq!(record.as_bytes(), golden("enable_request"));
}

#[test]
fn cpuid_block() {
    let features = Features::MSI | Features::MSIX | Features::PARKING | Features::EPOCH;
    let host = Discovery::new(features).with_msr(0x5056_0000).with_port(0x5058);
    let leaves = host.to_leaves(0x4000_0100);
    let bytes: Vec<u8> =
        leaves.iter().flat_map(|l| [l.eax, l.ebx, l.ecx, l.edx]).flat_map(u32::to_le_bytes).collect();
    assert_eq!(bytes, golden("leaves"));
    let page = |leaf: u32| leaves.get(leaf.wrapping_sub(0x4000_0100) as usize).copied().unwrap_or_default();
    assert_eq!(Discovery::scan(page), Some(host));
}
