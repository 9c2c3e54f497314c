//! The target of an IRTE: the routing that the guest requested, and the vCPU that it resolved to.

use crate::message::Message;
use pvir_abi::Routing;
use std::num::NonZeroU8;

/// The routing that a guest requested for an entry, and the one vCPU that this was resolved to.
///
/// Targets are equal if the requested routings are: the set of vCPUs never changes. There is one for each entry, so
/// it is kept small. The vector of a device's interrupt is never 0, and the reserved bytes of a valid routing are 0.
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

    /// The routing as the guest requested it.
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

    /// The message that is injected for message `number` of the entry. All messages go to one vCPU. Each has its own
    /// vector: the device replaces the low bits of the data by the number.
    #[must_use]
    pub fn message(self, number: u8) -> Message {
        Message::fixed(self.destination, self.vector.get() | number)
    }
}
