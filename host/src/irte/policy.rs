//! Which routings the host serves, and which vCPU each names (docs/abi.md, "Which vCPU a destination names").

use super::Target;
use pvir_abi::{
    Arch, DeliveryMode, DestinationMode, EntryRecord, FIRST_DEVICE_VECTOR, Features, Routing, Status,
};

/// The broadcast id of x2APIC mode, physical and logical (Intel SDM Vol. 3A, "Extended XAPIC (x2APIC)").
const BROADCAST: u32 = 0xffff_ffff;
/// The physical broadcast id of xAPIC mode: an ordinary id where a vCPU has it.
const XAPIC_BROADCAST: u32 = 0xff;
/// Members of a cluster of logical ids.
const CLUSTER: u32 = 16;

/// The APIC ids that a VM's interrupts can be routed to.
#[derive(Clone, Debug)]
pub struct RoutePolicy {
    /// Sorted.
    apic_ids: Vec<u32>,
}

impl RoutePolicy {
    /// The policy of a VM whose vCPUs have the APIC ids `apic_ids`, in any order.
    #[must_use]
    pub fn new(mut apic_ids: Vec<u32>) -> Self {
        apic_ids.sort_unstable();
        apic_ids.dedup();
        Self { apic_ids }
    }

    /// The APIC ids, ascending.
    #[must_use]
    pub fn apic_ids(&self) -> &[u32] {
        &self.apic_ids
    }

    /// The highest APIC id of a vCPU; 0 if there is no vCPU.
    #[must_use]
    pub fn max_apic_id(&self) -> u32 {
        self.apic_ids.last().copied().unwrap_or(0)
    }

    /// Validates `arch` and `routing` of a record in the order of the contract (docs/abi.md, "The entry record"), and
    /// resolves the destination to one vCPU. `enabled` are the features that the guest has taken.
    ///
    /// The record's reserved bytes and `count` come first in that order; the caller has validated them.
    ///
    /// # Errors
    /// The status that the record is answered with.
    #[inline]
    pub fn validate(&self, entry: &EntryRecord, enabled: Features) -> Result<Target, Status> {
        let routing = entry.routing;
        let taken = |feature| enabled.contains(feature);
        if entry.arch != Arch::X86_APIC {
            return Err(Status::BAD_ARCH);
        }
        if routing.hint != 0 && !taken(Features::REDIRECTION_HINT) {
            return Err(Status::BAD_DESTINATION_MODE);
        }
        match DeliveryMode(routing.delivery_mode) {
            DeliveryMode::FIXED => {}
            DeliveryMode::LOWEST_PRIORITY if taken(Features::LOWEST_PRIORITY) => {}
            _ => return Err(Status::BAD_DELIVERY_MODE),
        }
        let mode = DestinationMode(routing.destination_mode);
        match mode {
            DestinationMode::PHYSICAL => {}
            DestinationMode::LOGICAL if taken(Features::LOGICAL_DESTINATION) => {}
            _ => return Err(Status::BAD_DESTINATION_MODE),
        }
        if routing.vector < FIRST_DEVICE_VECTOR
            || u32::from(routing.vector) & entry.count.saturating_sub(1) != 0
        {
            return Err(Status::BAD_VECTOR);
        }
        let destination = match (routing.destination, mode) {
            (BROADCAST, _) => return Err(Status::BROADCAST),
            (_, DestinationMode::LOGICAL) => self.resolve_logical(&routing)?,
            _ => self.resolve_physical(routing.destination)?,
        };
        Target::new(routing, destination).ok_or(Status::BAD_VECTOR)
    }

    #[inline]
    fn resolve_physical(&self, destination: u32) -> Result<u32, Status> {
        // Nearly always vCPU n has id n.
        if self.apic_ids.get(destination as usize) == Some(&destination) {
            return Ok(destination);
        }
        match self.apic_ids.binary_search(&destination) {
            Ok(_) => Ok(destination),
            Err(_) if destination == XAPIC_BROADCAST => Err(Status::BROADCAST),
            Err(_) => Err(Status::BAD_DESTINATION),
        }
    }

    #[cold]
    fn resolve_logical(&self, routing: &Routing) -> Result<u32, Status> {
        let (cluster, members) = (routing.destination >> 16, routing.destination & 0xffff);
        let first = cluster * CLUSTER;
        let from = self.apic_ids.partition_point(|id| *id < first);
        let named = self.apic_ids[from..].iter().take_while(|id| **id < first + CLUSTER);
        let named = named.filter(|id| members >> (**id % CLUSTER) & 1 == 1).copied();
        let any_of_them = routing.hint != 0 || routing.delivery_mode == DeliveryMode::LOWEST_PRIORITY.0;
        match named.clone().count() {
            0 => Err(Status::BAD_DESTINATION),
            several @ 2.. if any_of_them => {
                let chosen = usize::from(routing.vector) % several;
                named.clone().nth(chosen).ok_or(Status::BAD_DESTINATION)
            }
            2.. => Err(Status::AMBIGUOUS_DESTINATION),
            _ => named.clone().next().ok_or(Status::BAD_DESTINATION),
        }
    }
}

#[cfg(test)]
mod tests;
