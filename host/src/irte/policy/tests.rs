use super::*;
use pvir_abi::{DeviceId, Store, X86Route};

fn entry(route: X86Route) -> EntryRecord {
    EntryRecord::map(DeviceId::default(), Store::MSIX, 0, route.into())
}

fn resolved(policy: &RoutePolicy, entry: &EntryRecord, enabled: Features) -> Result<(u32, u8), Status> {
    let first = policy.validate(entry, enabled)?.message(0);
    Ok((first.destination(), first.vector()))
}

fn validate(route: X86Route) -> Result<(u32, u8), Status> {
    resolved(&RoutePolicy::new(vec![300, 0, 1]), &entry(route), Features::MSIX)
}

#[test]
fn fixed_to_an_existing_vcpu_is_served() {
    assert_eq!(validate(X86Route::fixed(300, 32)), Ok((300, 32)));
    assert_eq!(validate(X86Route::fixed(0, 255)), Ok((0, 255)));
}

/// The rule a second time: over the ids one by one, with the order of the statuses.
fn stated(ids: &[u32], r: &Routing, lp: bool, logical: bool, hint: bool) -> Result<(u32, u8), Status> {
    if r.hint == 1 && !hint {
        return Err(Status::BAD_DESTINATION_MODE);
    }
    if !(r.delivery_mode == 0 || r.delivery_mode == 1 && lp) {
        return Err(Status::BAD_DELIVERY_MODE);
    }
    if !(r.destination_mode == 0 || r.destination_mode == 1 && logical) {
        return Err(Status::BAD_DESTINATION_MODE);
    }
    if r.vector < 32 {
        return Err(Status::BAD_VECTOR);
    }
    if r.destination == u32::MAX {
        return Err(Status::BROADCAST);
    }
    let is_named = |id: u32| match r.destination_mode {
        0 => id == r.destination,
        // The logical id as the processor derives it from the x2APIC id.
        _ => id < 1 << 20 && id >> 4 == r.destination >> 16 && r.destination & 1 << (id & 15) != 0,
    };
    let set: Vec<u32> = ids.iter().copied().filter(|id| is_named(*id)).collect();
    let place = match set.len() {
        0 if r.destination_mode == 0 && r.destination == 255 => return Err(Status::BROADCAST),
        0 => return Err(Status::BAD_DESTINATION),
        1 => 0,
        _ if r.delivery_mode == 0 && r.hint == 0 => return Err(Status::AMBIGUOUS_DESTINATION),
        several => usize::from(r.vector) % several,
    };
    Ok((set[place], r.vector))
}

/// Every vector x delivery mode x destination mode x hint, with each of the three features on and off, at the
/// destinations around which the rules change: about 25 million routings against a second statement of the rule.
#[test]
fn every_routing_byte_is_validated() {
    const IDS: [u32; 9] = [0, 1, 5, 15, 16, 300, 0x000f_ffff, 0x0010_0000, 0x0010_0001];
    let physical = [0, 1, 2, 5, 254, 255, 256, 300, 301, 0x000f_ffff, 0x0010_0001, u32::MAX];
    // 300 is member 12 of cluster 18.
    let logical = [0, 3, 0x8023, 0x1_0001, 0x1_fffe, 0x12_1000, 0x12_0fff, 0xffff_8000, 0xffff_7fff];
    let policy = RoutePolicy::new(IDS.to_vec());
    let (mut served, mut refused) = (0u32, 0u32);
    for destination in physical.into_iter().chain(logical) {
        for (delivery_mode, destination_mode) in
            (0..=8u8).chain([16, 128, 255]).flat_map(|delivery| [0u8, 1, 2, 255].map(|mode| (delivery, mode)))
        {
            for vector in 0..=255u8 {
                for bits in 0..16u8 {
                    let on = |bit: u8| bits >> bit & 1 == 1;
                    let routing = Routing {
                        destination,
                        vector,
                        delivery_mode,
                        destination_mode,
                        hint: u8::from(on(3)),
                        reserved: 0,
                    };
                    let mut enabled = Features::MSIX;
                    enabled.set(Features::LOWEST_PRIORITY, on(0));
                    enabled.set(Features::LOGICAL_DESTINATION, on(1));
                    enabled.set(Features::REDIRECTION_HINT, on(2));
                    let asked = EntryRecord::map(DeviceId::default(), Store::MSIX, 0, routing);
                    let answered = resolved(&policy, &asked, enabled);
                    assert_eq!(
                        answered,
                        stated(&IDS, &routing, on(0), on(1), on(2)),
                        "{routing:?} {enabled:?}"
                    );
                    *if answered.is_ok() { &mut served } else { &mut refused } += 1;
                }
            }
        }
    }
    println!("{served} served, {refused} refused");
    assert!(served > 20_000 && refused > served, "{served} {refused}");
}

#[test]
fn a_set_of_several_is_spread_by_the_vector() {
    // L3, with member 2 missing.
    let policy = RoutePolicy::new(vec![0, 1, 3, 16]);
    let all = Features::all();
    let lowest = |vector| {
        X86Route::fixed(0xffff, vector)
            .with_delivery_mode(DeliveryMode::LOWEST_PRIORITY)
            .with_destination_mode(DestinationMode::LOGICAL)
    };
    let chosen: Vec<_> = (0x60..0x64).map(|v| resolved(&policy, &entry(lowest(v)), all).unwrap().0).collect();
    assert_eq!(chosen, [0, 1, 3, 0]);
}

#[test]
fn all_messages_go_to_the_vcpu_of_the_first() {
    // L3, M10
    let policy = RoutePolicy::new((0..16).collect());
    let hinted = X86Route::fixed(7, 0x68).with_destination_mode(DestinationMode::LOGICAL).with_hint(true);
    let asked = EntryRecord { count: 8, ..entry(hinted) };
    let target = policy.validate(&asked, Features::all()).unwrap();
    assert_eq!(target.asked(), asked.routing, "L5");
    let routes: Vec<_> = (0..8).map(|i| target.message(i)).map(|r| (r.destination(), r.vector())).collect();
    assert_eq!(routes, (0x68..0x70).map(|vector| (0x68 % 3, vector)).collect::<Vec<_>>());
}

#[test]
fn the_vector_is_a_multiple_of_the_count() {
    let policy = RoutePolicy::new(vec![0]);
    for count in [1, 2, 4, 8, 16, 32] {
        for vector in 32..=255u8 {
            let asked = EntryRecord { count, ..entry(X86Route::fixed(0, vector)) };
            let fits = u32::from(vector) % count == 0;
            assert_eq!(policy.validate(&asked, Features::MSI).is_ok(), fits, "{vector} {count}");
        }
    }
}

#[test]
fn logical_ids_name_the_vcpu_of_every_id_that_has_one() {
    // 4096 vCPUs, each alone in its set and with all of its cluster.
    let policy = RoutePolicy::new((0..4096).rev().collect());
    for id in 0..4096u32 {
        let to = |members| {
            X86Route::fixed(((id / 16) << 16) | members, 0x80).with_destination_mode(DestinationMode::LOGICAL)
        };
        assert_eq!(resolved(&policy, &entry(to(1 << (id % 16))), Features::all()), Ok((id, 0x80)));
        let all_members = resolved(&policy, &entry(to(0xffff)), Features::all());
        assert_eq!(all_members, Err(Status::AMBIGUOUS_DESTINATION));
    }
}

#[test]
fn vectors_of_exceptions_are_refused() {
    for vector in 0..32 {
        assert_eq!(validate(X86Route::fixed(0, vector)), Err(Status::BAD_VECTOR));
    }
}

#[test]
fn broadcast_and_absent_destinations_have_different_statuses() {
    assert_eq!(validate(X86Route::fixed(0xffff_ffff, 40)), Err(Status::BROADCAST));
    assert_eq!(validate(X86Route::fixed(0xff, 40)), Err(Status::BROADCAST));
    assert_eq!(validate(X86Route::fixed(2, 40)), Err(Status::BAD_DESTINATION));
    let with_255 = RoutePolicy::new(vec![255]);
    assert!(with_255.validate(&entry(X86Route::fixed(255, 40)), Features::MSIX).is_ok());
}

#[test]
fn modes_whose_features_were_not_taken_are_refused() {
    for mode in [
        DeliveryMode::LOWEST_PRIORITY,
        DeliveryMode::SMI,
        DeliveryMode::NMI,
        DeliveryMode::INIT,
        DeliveryMode::EXTINT,
        DeliveryMode(3),
    ] {
        let route = X86Route::fixed(0, 40).with_delivery_mode(mode);
        assert_eq!(validate(route), Err(Status::BAD_DELIVERY_MODE), "{mode:?}");
    }
    let logical = X86Route::fixed(0, 40).with_destination_mode(DestinationMode::LOGICAL);
    assert_eq!(validate(logical), Err(Status::BAD_DESTINATION_MODE));
    let hinted = X86Route::fixed(0, 40).with_hint(true);
    assert_eq!(validate(hinted), Err(Status::BAD_DESTINATION_MODE));
    let mut arm = entry(X86Route::fixed(0, 40));
    arm.arch = Arch::ARM_ITS;
    assert_eq!(RoutePolicy::new(vec![0]).validate(&arm, Features::MSIX), Err(Status::BAD_ARCH));
}
