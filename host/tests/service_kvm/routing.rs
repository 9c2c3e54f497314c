//! Where interrupts may go.

use super::*;
use pvir_abi::{DeliveryMode, DestinationMode};

#[test]
fn bad_records_reach_no_local_apic() {
    let Some(fixture) = fixture() else { return };
    let bad: Vec<_> = (0..32u8)
        .map(|vector| routed(0, 0, vector))
        .chain([2, 255, u32::MAX].map(|destination| routed(0, destination, 0x40)))
        .chain((2..8).map(|mode| {
            let mut entry = routed(0, 0, 0x40);
            entry.routing.delivery_mode = mode;
            entry
        }))
        .collect();
    let (status, answer) = fixture.call(Operation::MAP, &bad);
    assert_eq!(status, Status::PARTIAL);
    assert!(answer.iter().all(|r| r.status != Status::OK && r.pair() == Pair::default()));
    fixture.device.raise(0);
    fixture.assert_nothing_more(&[]);
    assert_eq!(fixture.ioctls("KVM_SET_GSI_ROUTING"), 0);
}

#[test]
fn a_vcpu_is_named_in_every_way() {
    let Some(fixture) = fixture() else { return };
    let asked = |index, destination, vector, change: fn(&mut X86Route)| {
        let mut route = X86Route::fixed(destination, vector);
        change(&mut route);
        EntryRecord::map(device(), Store::MSIX, index, route.into())
    };
    for (index, entry) in (0..).zip([
        // 300 is member 12 of cluster 18.
        asked(0, 0x12_1000, 0x51, |r| r.destination_mode = DestinationMode::LOGICAL),
        asked(1, 1, 0x52, |r| r.delivery_mode = DeliveryMode::LOWEST_PRIORITY),
        // Of vCPUs 0 and 1 the one that the odd vector chooses.
        asked(2, 3, 0x53, |r| (r.destination_mode, r.hint) = (DestinationMode::LOGICAL, true)),
    ]) {
        let mapped = fixture.one(Operation::MAP, entry);
        fixture.program(index, mapped.pair());
        fixture.device.raise(index);
    }
    fixture.assert_arrives(&[(1, 0x52), (1, 0x53), (300, 0x51)]);
}
