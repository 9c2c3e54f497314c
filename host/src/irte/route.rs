//! Where an interrupt goes. A [`Route`] is proof that a routing was validated: KVM would take nearly anything.

use pvir_abi::{
    Arch, DeliveryMode, DestinationMode, Entry, FIRST_DEVICE_VECTOR, Features, Routing, Status, X86Route,
};

/// A validated routing: fixed delivery of a device vector to one vCPU that exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Route {
    destination: u32,
    vector: u8,
}

impl Route {
    /// APIC id of the vCPU.
    #[must_use]
    pub fn destination(self) -> u32 {
        self.destination
    }

    /// Vector, 32 to 255.
    #[must_use]
    pub fn vector(self) -> u8 {
        self.vector
    }

    #[cfg(test)]
    pub(crate) fn for_tests(destination: u32, vector: u8) -> Self {
        Self { destination, vector }
    }
}

impl From<Route> for Routing {
    fn from(route: Route) -> Self {
        X86Route::fixed(route.destination, route.vector).into()
    }
}

/// What a VM may route to.
#[derive(Clone, Debug)]
pub struct RoutePolicy {
    /// Sorted.
    apic_ids: Vec<u32>,
}

/// The broadcast id of x2APIC mode (Intel SDM Vol. 3A, "Extended XAPIC (x2APIC)").
const BROADCAST: u32 = 0xffff_ffff;
/// The broadcast id of xAPIC mode: an ordinary id where a vCPU has it.
const XAPIC_BROADCAST: u32 = 0xff;

impl RoutePolicy {
    /// For a VM whose vCPUs have these APIC ids, in any order.
    #[must_use]
    pub fn new(mut apic_ids: Vec<u32>) -> Self {
        apic_ids.sort_unstable();
        apic_ids.dedup();
        Self { apic_ids }
    }

    /// The highest APIC id of a vCPU; 0 without vCPUs.
    #[must_use]
    pub fn max_apic_id(&self) -> u32 {
        self.apic_ids.last().copied().unwrap_or(0)
    }

    /// Judges `arch` and `routing` of a record in the order of the contract ("The entry record").
    ///
    /// Reserved bytes were judged before: they come first in that order.
    ///
    /// # Errors
    /// The status for the record.
    pub fn judge(&self, entry: &Entry, enabled: Features) -> Result<Route, Status> {
        let routing = entry.routing;
        if entry.arch != Arch::X86_APIC {
            return Err(Status::BAD_ARCH);
        }
        if routing.hint != 0 && !enabled.contains(Features::REDIRECTION_HINT) {
            return Err(Status::BAD_DESTINATION_MODE);
        }
        match DeliveryMode(routing.delivery_mode) {
            DeliveryMode::FIXED => {}
            _ => return Err(Status::BAD_DELIVERY_MODE),
        }
        match DestinationMode(routing.destination_mode) {
            DestinationMode::PHYSICAL => {}
            _ => return Err(Status::BAD_DESTINATION_MODE),
        }
        if routing.vector < FIRST_DEVICE_VECTOR {
            return Err(Status::BAD_VECTOR);
        }
        let exists = self.apic_ids.binary_search(&routing.destination).is_ok();
        match routing.destination {
            BROADCAST => Err(Status::BROADCAST),
            _ if exists => Ok(Route { destination: routing.destination, vector: routing.vector }),
            XAPIC_BROADCAST => Err(Status::BROADCAST),
            _ => Err(Status::BAD_DESTINATION),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::{DeviceId, Store};

    fn entry(route: X86Route) -> Entry {
        Entry::map(DeviceId::default(), Store::MSIX, 0, route.into())
    }

    fn judge(route: X86Route) -> Result<(u32, u8), Status> {
        let policy = RoutePolicy::new(vec![300, 0, 1]);
        policy.judge(&entry(route), Features::MSIX).map(|r| (r.destination(), r.vector()))
    }

    #[test]
    fn fixed_to_an_existing_vcpu_is_served() {
        assert_eq!(judge(X86Route::fixed(300, 32)), Ok((300, 32)));
        assert_eq!(judge(X86Route::fixed(0, 255)), Ok((0, 255)));
    }

    #[test]
    fn every_routing_byte_is_judged() {
        // Every vector x delivery mode x destination mode x hint at the ids around which rules change: about 4.5
        // million routings against a second statement of the rule.
        let policy = RoutePolicy::new(vec![0, 1, 300]);
        let mut served = 0u32;
        for destination in [0, 1, 2, 254, 255, 256, 299, 300, 301, 0xffff_ffff] {
            for vector in 0..=255u8 {
                for delivery in (0..=8u8).chain([16, 128, 255]) {
                    for mode in [0u8, 1, 2, 255] {
                        for hint in [0u8, 1] {
                            let routing = Routing {
                                destination,
                                vector,
                                delivery_mode: delivery,
                                destination_mode: mode,
                                hint,
                                reserved: 0,
                            };
                            let entry = Entry::map(DeviceId::default(), Store::MSIX, 0, routing);
                            let fits = [0, 1, 300].contains(&destination)
                                && vector >= 32
                                && (delivery, mode, hint) == (0, 0, 0);
                            let judged =
                                policy.judge(&entry, Features::all().difference(Features::REDIRECTION_HINT));
                            assert_eq!(judged.is_ok(), fits, "{routing:?} -> {judged:?}");
                            served += u32::from(fits);
                        }
                    }
                }
            }
        }
        assert_eq!(served, 3 * 224);
    }

    #[test]
    fn vectors_of_exceptions_are_refused() {
        for vector in 0..32 {
            assert_eq!(judge(X86Route::fixed(0, vector)), Err(Status::BAD_VECTOR));
        }
    }

    #[test]
    fn broadcast_and_absent_destinations_are_told_apart() {
        assert_eq!(judge(X86Route::fixed(0xffff_ffff, 40)), Err(Status::BROADCAST));
        assert_eq!(judge(X86Route::fixed(0xff, 40)), Err(Status::BROADCAST));
        assert_eq!(judge(X86Route::fixed(2, 40)), Err(Status::BAD_DESTINATION));
        let with_255 = RoutePolicy::new(vec![255]);
        assert!(with_255.judge(&entry(X86Route::fixed(255, 40)), Features::MSIX).is_ok());
    }

    #[test]
    fn modes_that_are_not_fixed_and_physical_are_refused() {
        for mode in
            [DeliveryMode::SMI, DeliveryMode::NMI, DeliveryMode::INIT, DeliveryMode::EXTINT, DeliveryMode(3)]
        {
            let route = X86Route { delivery_mode: mode, ..X86Route::fixed(0, 40) };
            assert_eq!(judge(route), Err(Status::BAD_DELIVERY_MODE), "{mode:?}");
        }
        let logical = X86Route { destination_mode: DestinationMode::LOGICAL, ..X86Route::fixed(0, 40) };
        assert_eq!(judge(logical), Err(Status::BAD_DESTINATION_MODE));
        let hinted = X86Route { hint: true, ..X86Route::fixed(0, 40) };
        assert_eq!(judge(hinted), Err(Status::BAD_DESTINATION_MODE));
        let mut arm = entry(X86Route::fixed(0, 40));
        arm.arch = Arch::ARM_ITS;
        assert_eq!(RoutePolicy::new(vec![0]).judge(&arm, Features::MSIX), Err(Status::BAD_ARCH));
    }
}
