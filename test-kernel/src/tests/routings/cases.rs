//! Every way to name a processor, and what must come of it (`docs/abi.md`, statements L1 to L4).

use crate::harness::vectors::{Destination, Vectors};
use crate::machine::cpu;
use arrayvec::ArrayVec;
use pvir_guest::abi::{DeliveryMode, DestinationMode, Features, Status, X86Route};

const FIXED: DeliveryMode = DeliveryMode::FIXED;
const LOWEST: DeliveryMode = DeliveryMode::LOWEST_PRIORITY;
const PHYSICAL: DestinationMode = DestinationMode::PHYSICAL;
const LOGICAL: DestinationMode = DestinationMode::LOGICAL;

/// Members of a cluster.
const MEMBERS: u32 = 16;
/// All of them, whether they exist or not.
const EVERYBODY: u32 = 0xffff;
/// Most cases.
const MAX_CASES: usize = 48;

/// A routing that is tried.
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) route: X86Route,
    pub(super) expected: Expected,
}

/// What must come of a routing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// It arrives there.
    At(Destination),
    Refused(Status),
}

impl Case {
    /// What of it a host refuses whose guest has taken these features, or nothing. In the order of judgement.
    pub(super) fn refused_with(&self, taken: Features) -> Option<Status> {
        let X86Route { delivery_mode, destination_mode, hint, .. } = self.route;
        let lacks = |feature| !taken.contains(feature);
        if hint && lacks(Features::REDIRECTION_HINT) {
            Some(Status::BAD_DESTINATION_MODE)
        } else if delivery_mode == LOWEST && lacks(Features::LOWEST_PRIORITY) {
            Some(Status::BAD_DELIVERY_MODE)
        } else if destination_mode == LOGICAL && lacks(Features::LOGICAL_DESTINATION) {
            Some(Status::BAD_DESTINATION_MODE)
        } else {
            None
        }
    }
}

/// All cases that this machine's processors make.
pub(super) struct Cases {
    list: ArrayVec<Case, MAX_CASES>,
    vectors: Vectors,
}

impl Cases {
    /// All of them; `None` if there are too few vectors.
    pub(super) fn of_this_machine() -> Option<ArrayVec<Case, MAX_CASES>> {
        let mut cases = Self { list: ArrayVec::new(), vectors: Vectors::new() };
        cases.single()?;
        cases.several()?;
        cases.nobody()?;
        cases.modes()?;
        Some(cases.list)
    }

    fn add(&mut self, what: &'static str, route: X86Route, expected: Expected) -> Option<()> {
        self.list.try_push(Case { what, route, expected }).ok()
    }

    /// One processor, as each mode names it.
    fn single(&mut self) -> Option<()> {
        for number in 0..cpu::count().min(4) {
            let place = Destination::on(number, self.vectors.take(1)?)?;
            let route = route(logical(place.apic_id), place.vector, FIXED, LOGICAL, false);
            self.add("logical, one member", route, Expected::At(place))?;
        }
        let physical = [
            ("physical, lowest priority", LOWEST, false),
            ("physical, hint", FIXED, true),
            ("physical, lowest priority and hint", LOWEST, true),
        ];
        for (what, delivery, hint) in physical {
            let place = Destination::on(cpu::count() - 1, self.vectors.take(1)?)?;
            let route = route(place.apic_id, place.vector, delivery, PHYSICAL, hint);
            self.add(what, route, Expected::At(place))?;
        }
        Some(())
    }

    /// Those of the boot processor's cluster, in the order of their ids. What does not exist is left out.
    fn several(&mut self) -> Option<()> {
        let cluster = cpu::by_index(0)?.apic_id / MEMBERS;
        let mut members: ArrayVec<(u32, usize), { MEMBERS as usize }> = cpu::all()
            .filter(|cpu| cpu.apic_id / MEMBERS == cluster)
            .map(|cpu| (cpu.apic_id, cpu.index))
            .collect();
        members.sort_unstable();
        let all = members.iter().fold(0, |all, (id, _)| all | logical(*id));
        let choices = [
            ("logical, all members, lowest priority", all, LOWEST, false),
            ("logical, all members, hint", all, FIXED, true),
            ("logical, also who does not exist, lowest priority and hint", all | EVERYBODY, LOWEST, true),
        ];
        for (what, destination, delivery, hint) in choices {
            // As many vectors in a row as there are members: each member is chosen once.
            let first = self.vectors.take(members.len())?;
            for vector in (first..).take(members.len()) {
                let (_, index) = members[usize::from(vector) % members.len()];
                let route = route(destination, vector, delivery, LOGICAL, hint);
                self.add(what, route, Expected::At(Destination::on(index, vector)?))?;
            }
        }
        if members.len() > 1 {
            let ambiguous = Expected::Refused(Status::AMBIGUOUS_DESTINATION);
            let vector = self.vectors.take(1)?;
            self.add("logical, several and no choice", route(all, vector, FIXED, LOGICAL, false), ambiguous)?;
        } else if let [(id, index)] = members[..] {
            let place = Destination::on(index, self.vectors.take(1)?)?;
            let route = route(logical(id) | EVERYBODY, place.vector, FIXED, LOGICAL, false);
            self.add("logical, one of all exists", route, Expected::At(place))?;
        }
        Some(())
    }

    /// Nobody, or everybody.
    fn nobody(&mut self) -> Option<()> {
        let vector = self.vectors.take(1)?;
        let highest = cpu::all().map(|cpu| cpu.apic_id).max()?;
        let empty = (highest / MEMBERS + 1) << 16;
        let bad = Expected::Refused(Status::BAD_DESTINATION);
        let broadcast = Expected::Refused(Status::BROADCAST);
        self.add("logical, no member", route(0, vector, LOWEST, LOGICAL, true), bad)?;
        self.add("logical, a cluster without members", route(empty | 1, vector, LOWEST, LOGICAL, true), bad)?;
        self.add("physical, nobody", route(highest + 1, vector, LOWEST, PHYSICAL, true), bad)?;
        self.add("logical, broadcast", route(u32::MAX, vector, LOWEST, LOGICAL, true), broadcast)?;
        self.add("physical, broadcast", route(u32::MAX, vector, LOWEST, PHYSICAL, true), broadcast)?;
        if cpu::all().all(|cpu| cpu.apic_id != 0xff) {
            self.add("physical, broadcast of xAPIC", route(0xff, vector, FIXED, PHYSICAL, false), broadcast)?;
        }
        Some(())
    }

    /// Modes that are never served.
    fn modes(&mut self) -> Option<()> {
        let place = Destination::on(0, self.vectors.take(1)?)?;
        let bad = Expected::Refused(Status::BAD_DELIVERY_MODE);
        for mode in [2, 3, 4, 5, 6, 7, 8, 0xff].map(DeliveryMode) {
            self.add("delivery mode", route(place.apic_id, place.vector, mode, PHYSICAL, false), bad)?;
        }
        let bad = Expected::Refused(Status::BAD_DESTINATION_MODE);
        for mode in [2, 0xff].map(DestinationMode) {
            self.add("destination mode", route(place.apic_id, place.vector, FIXED, mode, false), bad)?;
        }
        Some(())
    }
}

/// The logical id that an APIC id has in x2APIC mode.
const fn logical(apic_id: u32) -> u32 {
    (apic_id / MEMBERS) << 16 | 1 << (apic_id % MEMBERS)
}

const fn route(
    destination: u32,
    vector: u8,
    delivery_mode: DeliveryMode,
    destination_mode: DestinationMode,
    hint: bool,
) -> X86Route {
    X86Route::fixed(destination, vector)
        .with_delivery_mode(delivery_mode)
        .with_destination_mode(destination_mode)
        .with_hint(hint)
}
