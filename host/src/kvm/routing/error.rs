//! Why the routing table did not change.

use std::io;
use std::ops::Range;

/// Why a change of the VM's routing table was refused. The table and KVM are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutingError {
    /// The VMM asked for a route of a GSI that is lent to pvir.
    #[error("GSI {gsi} is one of {} to {}, which are lent to pvir", pvir.start, pvir.end - 1)]
    GsiOfPvir {
        /// The GSI.
        gsi: u32,
        /// The GSIs that are lent.
        pvir: Range<u32>,
    },
    /// pvir asked for a route of a GSI that is not lent to it.
    #[error("GSI {gsi} is not one of {} to {}, which are lent to pvir", pvir.start, pvir.end - 1)]
    GsiOfVmm {
        /// The GSI.
        gsi: u32,
        /// The GSIs that are lent.
        pvir: Range<u32>,
    },
    /// KVM has no such GSI.
    #[error("GSI {gsi} is not below {max}, which KVM has", max = super::super::MAX_GSI)]
    NoSuchGsi {
        /// The GSI.
        gsi: u32,
    },
    /// The VMM has a route of a GSI that pvir was to be lent.
    #[error("GSI {gsi} has a route of the VMM's, so {} to {} cannot be lent to pvir", asked.start, asked.end - 1)]
    GsiInUse {
        /// The GSI.
        gsi: u32,
        /// The GSIs that were to be lent.
        asked: Range<u32>,
    },
    /// The GSIs that pvir was to be lent are none, or KVM does not have them all.
    #[error("GSIs {}..{} cannot be lent to pvir: KVM has 0..{max}", asked.start, asked.end, max = super::super::MAX_GSI)]
    BadRange {
        /// The GSIs that were to be lent.
        asked: Range<u32>,
    },
    /// pvir has been lent GSIs already, and they are in use.
    #[error("GSIs {} to {} are lent to pvir already", pvir.start, pvir.end - 1)]
    LentAlready {
        /// The GSIs that are lent.
        pvir: Range<u32>,
    },
    /// The VMM's routes and pvir's together are more than KVM takes.
    #[error("{asked} routes are asked for, and KVM takes {max}", max = kvm_bindings::KVM_MAX_IRQ_ROUTES)]
    TooManyRoutes {
        /// Number of the VMM's routes and pvir's.
        asked: usize,
    },
    /// KVM refused to attach or to detach an irqfd of the VMM's.
    #[error("KVM_IRQFD for GSI {gsi} failed")]
    Irqfd {
        /// The GSI.
        gsi: u32,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// KVM refused the table.
    #[error("KVM_SET_GSI_ROUTING with {routes} routes failed")]
    Kvm {
        /// Number of routes in the table.
        routes: usize,
        /// The errno.
        #[source]
        source: io::Error,
    },
}

impl From<RoutingError> for io::Error {
    /// The error of KVM itself, or one of kind [`io::ErrorKind::InvalidInput`] that has the refusal in it.
    fn from(error: RoutingError) -> Self {
        match error {
            RoutingError::Kvm { source, .. } | RoutingError::Irqfd { source, .. } => source,
            refused => Self::new(io::ErrorKind::InvalidInput, refused),
        }
    }
}
