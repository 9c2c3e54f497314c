//! What a function is.

/// The identity of an emulated function, as its header shows it ("PCI Local Bus Specification, Revision 3.0", section
/// 6.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    pub(super) vendor: u16,
    pub(super) device: u16,
    pub(super) subsystem_vendor: u16,
    pub(super) subsystem: u16,
    pub(super) revision: u8,
    /// Base class, subclass, programming interface.
    pub(super) class: [u8; 3],
}

impl Identity {
    /// A function of this vendor and device id: revision 0, of no class (base class 0xff), and with the same ids for
    /// its subsystem.
    #[must_use]
    pub const fn new(vendor: u16, device: u16) -> Self {
        Self { vendor, device, subsystem_vendor: vendor, subsystem: device, revision: 0, class: [0xff, 0, 0] }
    }

    /// The same, with another base class, subclass and programming interface.
    #[must_use]
    pub const fn with_class(self, base: u8, subclass: u8, interface: u8) -> Self {
        Self { class: [base, subclass, interface], ..self }
    }

    /// The same, with another revision.
    #[must_use]
    pub const fn with_revision(self, revision: u8) -> Self {
        Self { revision, ..self }
    }

    /// The same, with other ids for its subsystem.
    #[must_use]
    pub const fn with_subsystem(self, vendor: u16, subsystem: u16) -> Self {
        Self { subsystem_vendor: vendor, subsystem, ..self }
    }
}
