//! The VMM's choices for a service.

use super::{RateLimit, StormLimit};
use crate::kvm::MAX_GSI;
use pvir_abi::{Conduits, MIN_CONDUIT_MSR};

/// The VMM's choices for a VM: [`Config::new`], and one function for each choice that has a default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// APIC ids of all vCPUs. Everywhere else in the service, a vCPU is named by its index in this list.
    pub apic_ids: Vec<u32>,
    /// The conduits that the guest may call by: those that work on this machine and that the VMM handles.
    pub conduits: Conduits,
    /// Index of the MSR for [`Conduits::MSR`], for which the contract keeps a range
    /// ([`MIN_CONDUIT_MSR`] on); ignored without it.
    pub msr: u32,
    /// Number of the I/O port for [`Conduits::PORT`], for which the contract keeps a range
    /// ([`MIN_CONDUIT_PORT`](pvir_abi::MIN_CONDUIT_PORT) on); ignored without it.
    pub port: u16,
    /// The first GSI that the service may use. GSIs below it belong to the VM's I/O APIC or to the VMM. Of a router with
    /// GSIs of its own ([`IrqRouter::gsis`](crate::kvm::IrqRouter::gsis)) the service uses none outside of them either.
    pub first_gsi: u32,
    /// Maximum number of IRTEs that the VM may hold, and of GSIs that the service uses.
    pub max_irtes: u32,
    /// Maximum number of IRTEs that one device may hold.
    pub max_irtes_per_device: u32,
    /// Maximum number of irqfds that are armed ahead of the guest's MAP, which then issues no `KVM_IRQFD` for them; 0
    /// for none. Each holds a file descriptor and a GSI until it is used. The service arms them in a
    /// [`PrearmThread`](super::PrearmThread) or in [`Service::arm_ahead`](super::Service::arm_ahead), which the VMM calls
    /// in a thread of its own.
    pub armed_ahead: u32,
    /// How much of the host the VM may take by what its guest does to its interrupts.
    pub rate_limit: RateLimit,
    /// How many interrupts a second its devices may raise, where the VMM has somebody look ([`StormThread`] or
    /// [`StormWatch`]).
    ///
    /// [`StormThread`]: super::StormThread
    /// [`StormWatch`]: super::StormWatch
    pub storm_limit: StormLimit,
}

impl Config {
    /// The MSR that a VMM takes if nothing speaks against it.
    pub const MSR: u32 = MIN_CONDUIT_MSR;
    /// The I/O port that a VMM takes if nothing speaks against it. It is free on every PC.
    pub const PORT: u16 = 0x5058;
    /// Pins of an I/O APIC, which have the first GSIs.
    const PINS: u32 = 24;
    /// Entries of the longest MSI-X table.
    const LONGEST_TABLE: u32 = 2048;

    /// A VM with these vCPUs, by their APIC ids, and these conduits: those that work on this machine and that the VMM
    /// handles. The MSR is [`Self::MSR`] and the port [`Self::PORT`]; GSIs are used from 24 on; the VM may hold as many
    /// IRTEs as KVM has GSIs for, and a device 2048; nothing is armed ahead; the
    /// rate is limited by [`RateLimit::default`], and storms by [`StormLimit::default`].
    #[must_use]
    pub fn new(apic_ids: Vec<u32>, conduits: Conduits) -> Self {
        Self {
            apic_ids,
            conduits,
            msr: Self::MSR,
            port: Self::PORT,
            first_gsi: Self::PINS,
            max_irtes: MAX_GSI - Self::PINS,
            max_irtes_per_device: Self::LONGEST_TABLE,
            armed_ahead: 0,
            rate_limit: RateLimit::default(),
            storm_limit: StormLimit::default(),
        }
    }

    /// With another [`msr`](Self::msr).
    #[must_use]
    pub fn with_msr(self, msr: u32) -> Self {
        Self { msr, ..self }
    }

    /// With another [`port`](Self::port).
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// With another [`first_gsi`](Self::first_gsi).
    #[must_use]
    pub fn with_first_gsi(self, first_gsi: u32) -> Self {
        Self { first_gsi, ..self }
    }

    /// With another [`max_irtes`](Self::max_irtes).
    #[must_use]
    pub fn with_max_irtes(self, max_irtes: u32) -> Self {
        Self { max_irtes, ..self }
    }

    /// With another [`max_irtes_per_device`](Self::max_irtes_per_device).
    #[must_use]
    pub fn with_max_irtes_per_device(self, max_irtes_per_device: u32) -> Self {
        Self { max_irtes_per_device, ..self }
    }

    /// With so many irqfds that are armed ahead ([`armed_ahead`](Self::armed_ahead)).
    #[must_use]
    pub fn with_armed_ahead(self, armed_ahead: u32) -> Self {
        Self { armed_ahead, ..self }
    }

    /// With another [`rate_limit`](Self::rate_limit).
    #[must_use]
    pub fn with_rate_limit(self, rate_limit: RateLimit) -> Self {
        Self { rate_limit, ..self }
    }
    /// With another [`storm_limit`](Self::storm_limit).
    #[must_use]
    pub fn with_storm_limit(self, storm_limit: StormLimit) -> Self {
        Self { storm_limit, ..self }
    }
}
