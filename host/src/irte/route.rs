//! Where an interrupt goes. A [`Route`] is proof that a routing was validated: KVM would take nearly anything.

use pvir_abi::Routing;

/// What KVM is told: fixed delivery of a device vector to one vCPU that exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Route {
    destination: u32,
    vector: u8,
}

impl Route {
    /// Only the policy knows what is valid.
    pub(super) fn new(destination: u32, vector: u8) -> Self {
        Self { destination, vector }
    }

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

/// Where the guest wants an entry: what it asked for, and what that was resolved to.
///
/// Two are the same if what was asked for is the same: the set of vCPUs never changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    asked: Routing,
    first: Route,
}

impl Target {
    /// Only the policy knows what is valid. The vectors of all messages must be.
    pub(super) fn new(asked: Routing, destination: u32) -> Self {
        Self { asked, first: Route::new(destination, asked.vector) }
    }

    /// The routing as the guest gave it.
    #[must_use]
    pub fn asked(self) -> Routing {
        self.asked
    }

    /// Where a message goes: all go to one vCPU, each with its own vector.
    #[must_use]
    pub fn route_of(self, message: u8) -> Route {
        Route { vector: self.first.vector | message, ..self.first }
    }
}
