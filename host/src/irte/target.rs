//! Where an IRTE goes.

use crate::message::Message;
use pvir_abi::Routing;
use std::num::NonZeroU8;

/// Where the guest wants an entry: what it asked for, and the one vCPU that this was resolved to.
///
/// Two targets are the same if what was asked for is the same: the set of vCPUs never changes. There is one for each
/// entry, so it is kept small: a device's vector is never 0, and the reserved bytes of a valid routing are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    vector: NonZeroU8,
    delivery_mode: u8,
    destination_mode: u8,
    hint: u8,
    asked_destination: u32,
    destination: u32,
}

impl Target {
    /// Only the policy knows what is valid. The vectors of all messages must be; `None` for vector 0.
    pub(super) fn new(asked: Routing, destination: u32) -> Option<Self> {
        let Routing { vector, delivery_mode, destination_mode, hint, destination: asked_destination, .. } =
            asked;
        let vector = NonZeroU8::new(vector)?;
        Some(Self { vector, delivery_mode, destination_mode, hint, asked_destination, destination })
    }

    /// The routing as the guest gave it.
    #[must_use]
    pub fn asked(self) -> Routing {
        Routing {
            vector: self.vector.get(),
            delivery_mode: self.delivery_mode,
            destination_mode: self.destination_mode,
            hint: self.hint,
            destination: self.asked_destination,
            ..Routing::default()
        }
    }

    /// What is injected for a message of the entry: all go to one vCPU, each with a vector of its own, of which a device
    /// that has several replaces the low bits.
    #[must_use]
    pub fn message(self, number: u8) -> Message {
        Message::fixed(self.destination, self.vector.get() | number)
    }
}
