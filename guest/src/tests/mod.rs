//! The driver against the fake host, honest and hostile.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]

extern crate std;

mod attached;
mod batches;
mod features;
mod hostile;
mod hostile_operations;
mod ims;
mod life;
mod locks;
mod msi_and_msix;
mod owned;
mod random;
mod recovery;
mod scripted;
mod stores;

use crate::fake::{FakeDevice, FakeHost};
use crate::{EnableOptions, MapRequest, Origin, Pvir, Remapping, Target};
use pvir_abi::{Bdf, DeviceId, Features};

const DEVICE: DeviceId = DeviceId::new(0, Bdf(0x0008));
const OTHER: DeviceId = DeviceId::new(0, Bdf(0x0110));
const ENTRIES: u32 = 2048;

fn host() -> FakeHost {
    FakeHost::new(&[FakeDevice::new(DEVICE, ENTRIES), FakeDevice::new(OTHER, 4)])
}

fn negotiated(host: &FakeHost, records: u32) -> Pvir<FakeHost> {
    Pvir::negotiate(&host.discovered(), host.clone(), host.block(records)).unwrap()
}

fn enabled_with(host: &FakeHost, records: u32) -> Remapping<FakeHost> {
    let options = EnableOptions::new(
        Features::MSI | Features::MSIX | Features::IMS | Features::MSI_MULTI | Features::PARKING,
    );
    negotiated(host, records).enable(options.with_events(host.event_memory())).unwrap()
}

fn enabled() -> (FakeHost, Remapping<FakeHost>) {
    let host = host();
    let remapping = enabled_with(&host, 512);
    (host, remapping)
}

fn msix(index: u32) -> MapRequest {
    MapRequest::new(Origin::msix(DEVICE, index), Target::fixed(1, 0x51))
}
