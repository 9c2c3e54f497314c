//! Where an IRTE goes.

use crate::message::Message;
use pvir_abi::Routing;

/// Where the guest wants an entry: what it asked for, and the one vCPU that this was resolved to.
///
/// Two targets are the same if what was asked for is the same: the set of vCPUs never changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    asked: Routing,
    first: Message,
}

impl Target {
    /// Only the policy knows what is valid. The vectors of all messages must be.
    pub(super) fn new(asked: Routing, destination: u32) -> Self {
        Self { asked, first: Message::fixed(destination, asked.vector) }
    }

    /// The routing as the guest gave it.
    #[must_use]
    pub fn asked(self) -> Routing {
        self.asked
    }

    /// What is injected for a message of the entry: all go to one vCPU, each with its own vector.
    #[must_use]
    pub fn message(self, number: u8) -> Message {
        self.first.with_low_bits(number)
    }
}
