//! Blocks that lie where no block may lie. Their header cannot be written, so the status comes by the conduit alone.

use crate::harness::checks::Checks;
use crate::raw::{Raw, ram};
use pvir_guest::abi::{EntryRecord, FeaturesRecord, GuestPhysAddr, Operation, Status, Store};
use pvir_guest::{Conduit, abi};

pub(super) fn run(raw: &Raw, checks: &mut Checks) {
    let features = Raw::header(Operation::FEATURES, 1);
    raw.write(&features, &[FeaturesRecord::request()]);
    let block = raw.address().0;
    let places = [
        ("unaligned", Status::UNALIGNED, block + 64),
        ("unaligned by a byte", Status::UNALIGNED, block + 1),
        ("in the local APIC", Status::BAD_ADDRESS, 0xfee0_0000),
        ("in no man's land", Status::BAD_ADDRESS, 0xff0_0000_0000),
        ("at the end of the address space", Status::BAD_ADDRESS, u64::MAX - 4095),
    ];
    for (name, expected, address) in places {
        let address = GuestPhysAddr(address);
        if !raw.conduit().reaches(address) {
            // The port carries page numbers of 32 bits: such an address cannot even be said.
            checks.expect("place", true, format_args!("{name}: the conduit cannot carry it"));
            continue;
        }
        let status = raw.call_at(address);
        checks.expect("place", status == expected, format_args!("{name}: {status:?}"));
    }
    header_untouched(raw, checks);
    across_the_end(raw, checks);
}

/// An unaligned block lies in RAM, and yet its header is not written.
fn header_untouched(raw: &Raw, checks: &mut Checks) {
    let status = raw.read::<abi::Header>(0).status;
    checks.expect("place", status == Status::PENDING, format_args!("the refused block says {status:?}"));
}

/// The longest block, its header on the last page of RAM.
fn across_the_end(raw: &Raw, checks: &mut Checks) {
    let Some(last_page) = ram::last_page(raw) else {
        return checks.expect("place", false, format_args!("the end of RAM was not found"));
    };
    let status = raw.call_at(last_page);
    // Whatever stands there is no header: with RAM to its end it is judged by its magic number.
    checks.expect("place", status == Status::BAD_MAGIC, format_args!("the last page of RAM: {status:?}"));
    let beyond = GuestPhysAddr(last_page.0 + 4096);
    let status = raw.call_at(beyond);
    checks.expect("place", status == Status::BAD_ADDRESS, format_args!("just past RAM: {status:?}"));
    if Raw::plant(last_page, &Raw::header(Operation::QUERY, 512)) {
        let status = raw.call_at(last_page);
        checks.expect(
            "place",
            status == Status::BAD_ADDRESS,
            format_args!("crosses the end of RAM: {status:?}"),
        );
    }
    let good = raw.call(
        &Raw::header(Operation::QUERY, 1),
        &[EntryRecord::query(abi::DeviceId::default(), Store::MSIX, 0)],
    );
    checks.expect(
        "place",
        good.status == Status::PARTIAL,
        format_args!("a good block after all that: {good}"),
    );
}
