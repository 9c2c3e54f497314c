//! Requests that the service would refuse, changed so that it takes them.

use pvir_abi::{FIRST_DEVICE_VECTOR, Features, GuestPhysAddr, Handle, Operation};

use super::block::Block;
use super::{Change, HonestService};
use crate::list::Wrong;

/// Something of the request is overlooked.
pub(super) struct Requests(pub(super) Wrong);

impl Change for Requests {
    fn serve(&self, request: &Block, service: &HonestService<'_>) -> Block {
        service.call_changed(request, |request| match self.0 {
            Wrong::ReservedIgnored => request.header.reserved = [0; 4],
            Wrong::AnyFeature => {
                let offered = service.discovery().features.bits();
                request.each_enable(|record| record.features &= offered);
            }
            Wrong::VectorFive => request.each_entry(|record| {
                if record.routing.vector < FIRST_DEVICE_VECTOR {
                    record.routing.vector += FIRST_DEVICE_VECTOR;
                }
            }),
            Wrong::HintBitsIgnored => request.each_entry(|record| record.routing.hint &= 1),
            Wrong::OfferedRefused => request.each_enable(|record| {
                if record.features & Features::MSIX.bits() == 0 {
                    record.features |= 1 << 63;
                }
            }),
            Wrong::EndsRefused => request.each_entry(|record| {
                if [FIRST_DEVICE_VECTOR, u8::MAX].contains(&record.routing.vector) {
                    record.routing.vector = 0;
                }
            }),
            Wrong::CountIgnored if request.header.operation == Operation::QUERY => {
                request.each_entry(|record| {
                    if record.handle == Handle::NONE {
                        record.count = 1;
                    }
                });
            }
            Wrong::BroadcastTaken => request.each_entry(|record| {
                if record.routing.destination == u32::MAX {
                    record.routing.destination = 0;
                }
            }),
            _ => {}
        })
    }
}

/// A block is taken wherever it lies.
pub(super) struct AnywhereInPage;

impl Change for AnywhereInPage {
    fn takes_block_at(&self, _: GuestPhysAddr) -> bool {
        true
    }
}

/// Every access to the port is a call.
pub(super) struct NarrowPort;

impl Change for NarrowPort {
    fn takes_port_access(&self, _: u8) -> bool {
        true
    }
}

/// A call from any ring is one from the kernel.
pub(super) struct Ring3Taken;

impl Change for Ring3Taken {
    fn takes_ring3(&self) -> bool {
        true
    }
}
